"""A real server whose clock can be set while it runs: its system calls for the time go through libfaketime."""

from __future__ import annotations

import shlex
from pathlib import Path

from hephaestus_celery.embedded import EmbeddedServer, _executable, _packaged_server, find_server
from hephaestus_celery.exceptions import ConfigurationError


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
        self.set_clock(0)
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
        """Put the clock so many seconds from the machine's."""
        new = self._setting.with_suffix(".new")
        new.write_text(f"{seconds:+}\n")
        new.replace(self._setting)
