"""The Celery workers of the demo, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.exceptions import HephaestusError

STOP_SECONDS, HASTE_SECONDS = 15.0, 3.0
"""How long workers may take to finish what they are doing: at a regular end, and when an exception ends the block."""
_LOG_LINES = 20


class WorkerDiedError(HephaestusError):
    """A worker ended although nobody asked it to; says how its log ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker; its process leads a group, to which those of its pool belong."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def has(self, pid: int) -> bool:
        """Whether a process that is alive is this worker, or of its pool."""
        try:
            return os.getpgid(pid) == self.process.pid
        except ProcessLookupError:
            return False


class Workers:
    """At first ``count`` workers of the application ``app`` while the ``with`` block runs; they inherit this environment.

    Each has a session of its own, so that Ctrl-C in a terminal reaches the caller alone, which stops them by leaving the
    block: what they are doing they finish (Celery's warm shutdown), and whoever has not ended after some seconds is
    killed. ``folder`` takes their logs, ``worker1.log`` and so on, and is where they run; what killed ones leave in their
    folder for temporary files goes with it.
    """

    def __init__(self, app: str, *, count: int, folder: Path) -> None:
        self._app = app
        self._count = count
        self._folder = folder
        self._launched = 0
        self._temporary = tempfile.TemporaryDirectory(prefix="hephaestus-workers-")
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        try:
            for _ in range(self._count):
                self.add()
        except BaseException:
            self._stop(HASTE_SECONDS)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop(STOP_SECONDS if kind is None else HASTE_SECONDS)

    def check(self) -> None:
        """Raise :class:`WorkerDiedError` unless all of them are alive."""
        for worker in self._workers:
            code = worker.process.poll()
            if code is not None:
                lines = worker.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                raise WorkerDiedError(
                    f"{worker.name} ended (exit code {code}); its log ends with:\n"
                    + "\n".join(f"  {line}" for line in lines)
                )

    def add(self) -> Worker:
        """Start one more."""
        self._launched += 1
        self._workers.append(self._launch(f"worker{self._launched}"))
        return self._workers[-1]

    def find(self, pid: int) -> Worker | None:
        """The worker that a process belongs to; None if there is none."""
        return next((worker for worker in self._workers if worker.has(pid)), None)

    def kill(self, worker: Worker) -> None:
        """End a worker and its pool as a power failure would; nobody looks after it any more."""
        self._workers.remove(worker)
        _kill(worker)

    def _launch(self, name: str) -> Worker:
        arguments = ["--pool", "prefork", "--concurrency", "2", "--hostname", f"{name}@%h", "--loglevel", "INFO"]
        # Messages between workers are of no use to two that live for a minute, and waiting for it takes a second.
        arguments += ["--without-gossip", "--without-mingle"]
        log = self._folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, and an application of ours
                [sys.executable, "-m", "celery", "-A", self._app, "worker", *arguments],
                cwd=self._folder,
                env={**os.environ, "TMPDIR": self._temporary.name},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Worker(name=name, process=process, log=log)

    def _stop(self, seconds: float) -> None:
        for worker in self._workers:
            worker.process.send_signal(signal.SIGTERM)
        deadline = SYSTEM_CLOCK.monotonic_ns() + int(seconds * 1e9)
        for worker in self._workers:
            left = max(0.0, (deadline - SYSTEM_CLOCK.monotonic_ns()) / 1e9)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=left)
            _kill(worker)
        self._workers.clear()
        self._temporary.cleanup()


def _kill(worker: Worker) -> None:
    # The whole group: a worker that died has left its pool behind.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
