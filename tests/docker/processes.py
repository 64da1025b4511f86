"""The nodes as processes of this machine, with as much of a container's interface as the nodes of pytest-celery use."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import workers
from stage import READY_SECONDS, eventually

from hephaestus_celery.embedded import EmbeddedServer

REVIVAL_SECONDS = 0.1
"""Between the failure of a process and its next start, as with Docker."""


class SupervisedProcess:
    """A process that is started again whenever it fails by itself, as Docker does with the policy `on-failure`.

    Like a container it stays ended once it was killed or stopped by hand, until it is restarted, and its logs are those
    of all its starts.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        self._command, self._environment, self._log = command, environment, log
        # Held where the process is replaced: what is killed must not be what has just been replaced.
        self._lock = threading.Lock()
        self._ended_by_hand = threading.Event()
        self._process = self._spawn()
        self._supervisor = self._supervise()

    @property
    def status(self) -> str:
        if self._process.poll() is None:
            return "running"
        return "restarting" if self._supervisor.is_alive() else "exited"

    def logs(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal to the process, or SIGKILL to it and all its children, which then have ended on return."""
        number = _number(signal)
        with self._lock:
            self._ended_by_hand.set()
            self._send(number)
        if number == _number("SIGKILL"):
            self._supervisor.join()

    def stop(self, timeout: float) -> None:
        """Ask the process to end; what has not ended in time is killed with all its children."""
        self.kill("SIGTERM")
        self._supervisor.join(timeout)
        self.kill("SIGKILL")

    def restart(self, timeout: float = 10) -> None:
        self.stop(timeout)
        self._ended_by_hand.clear()
        self._process = self._spawn()
        self._supervisor = self._supervise()

    def reload(self) -> None:
        """Nothing is cached here."""

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _supervise(self) -> threading.Thread:
        thread = threading.Thread(target=self._revive, daemon=True)
        thread.start()
        return thread

    def _revive(self) -> None:
        for _ in range(workers.REVIVALS):
            if self._process.wait() == 0 or self._ended_by_hand.wait(REVIVAL_SECONDS):
                break
            with self._lock:
                if not self._ended_by_hand.is_set():
                    self._send(signal.SIGKILL)  # to children that have outlived it
                    self._process = self._spawn()
        self._process.wait()

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)


class WorkerProcess(SupervisedProcess):
    """A worker of the tests' application; named as if its host were a container."""

    def __init__(self, name: str, *, environment: Mapping[str, str], folder: Path) -> None:
        self.id, self.name = secrets.token_hex(32), name
        self.hostname = f"{self.worker_name()}@{self.id[:12]}"
        command = [sys.executable, "-m", "celery", *workers.arguments(self.hostname)]
        super().__init__(command, environment=environment, log=folder / f"{name}.log")

    @classmethod
    def worker_name(cls) -> str:
        return workers.NAME

    def ready(self) -> bool:
        eventually(self._is_ready_or_ended, timeout=READY_SECONDS, what=f"{self.name} is ready")
        if self.status == "exited":
            raise AssertionError(f"{self.name} has ended; it said:\n{self.logs()[-4000:]}")
        return True

    def teardown(self) -> None:
        self.kill()

    def _is_ready_or_ended(self) -> bool:
        return f"{self.hostname} ready" in self.logs() or self.status == "exited"


class ValkeyProcess:
    """Broker and state store on a unix socket."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.id, self.name, self._server = secrets.token_hex(32), "valkey", server

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {"url": self._server.url, "host_url": self._server.url}

    @property
    def status(self) -> str:
        return "running" if self._server.running else "exited"

    def ready(self) -> bool:
        return self._server.running

    def logs(self) -> str:
        return self._server.log_path.read_text(errors="replace")

    def kill(self, signal: str | int = "SIGKILL") -> None:
        os.kill(self._server.pid, _number(signal))

    def restart(self, timeout: float = 10) -> None:
        self._server.restart()

    def reload(self) -> None:
        """Nothing is cached here."""

    def teardown(self) -> None:
        """The server belongs to who has given it."""


def _number(name: str | int) -> int:
    return signal.Signals[name] if isinstance(name, str) else name
