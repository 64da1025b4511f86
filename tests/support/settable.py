"""A real server whose clock can be set while it runs: its system calls for the time go through libfaketime."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from redis import Redis

from hephaestus_celery.embedded import EmbeddedServer, _executable, _packaged_server, find_server
from hephaestus_celery.exceptions import ConfigurationError

LATE = 2.5  # seconds; whole ones are compared


def find_libfaketime() -> Path:
    """The library that Debian's package `faketime` brings; ``ConfigurationError`` where it is not installed."""
    for folder in ("/usr/lib", "/usr/local/lib", "/lib"):
        for found in sorted(Path(folder).glob("**/faketime/libfaketime.so.1")):
            return found
    raise ConfigurationError("there is no libfaketime; install the package faketime")


class SettableServer(EmbeddedServer):
    """An embedded server; ``set_clock(seconds)`` puts its clock that far from the machine's. Its timers stay as they are."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._setting = folder / "clock"
        self._write(0)
        program = folder / "server"
        program.write_text(
            "#!/bin/sh\n"
            f"export LD_PRELOAD={find_libfaketime()} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n"
            f"export FAKETIME_TIMESTAMP_FILE={shlex.quote(str(self._setting))}\n"
            # Not Debian's own: it has another allocator, which libfaketime does not get on with.
            f'exec {shlex.quote(str(_executable(_packaged_server() or find_server(), folder)))} "$@"\n'
        )
        program.chmod(0o755)
        super().__init__(folder / "data", binary=program)

    def set_clock(self, seconds: float) -> None:
        """Put the clock so many seconds from the machine's; a server that runs has it by then."""
        self._write(seconds)
        if self.running:
            self._await_clock(seconds)

    def _write(self, seconds: float) -> None:
        new = self._setting.with_suffix(".new")
        new.write_text(f"{seconds:+}\n")
        new.replace(self._setting)

    def _await_clock(self, seconds: float) -> None:
        """The library reads the file anew for each look at the clock, but about a millisecond late."""
        with Redis(unix_socket_path=str(self.socket_path), socket_timeout=10) as client:
            deadline = time.monotonic() + 10
            while abs(client.time()[0] - time.time() - seconds) > LATE:
                if time.monotonic() > deadline:
                    raise AssertionError(f"the server's clock is not {seconds:+} s from the machine's")
