"""The worker process that is measured."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS, STOP_SECONDS = 60.0, 10.0
ROOT = Path(__file__).parents[1]


class Worker:
    """One ``celery worker`` with two slots, and a session of its own: who started it stops it."""

    def __init__(self, *, folder: Path, ready: Path, pool: str, environment: Mapping[str, str]) -> None:
        self._ready = ready
        self._log = folder / "worker.log"
        # What a killed one leaves in its folder for temporary files goes with it.
        self._temporary = tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)
        command = [
            *(sys.executable, "-m", "celery", "-A", "benchmarks.worker_app", "worker"),
            *("--pool", pool, "--concurrency", "2", "--hostname", f"{folder.name}@%h"),
            # Messages between workers are of no use to a single one.
            *("--without-gossip", "--without-mingle"),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment, "TMPDIR": self._temporary.name, "C_FORCE_ROOT": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The main process."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Return when it consumes; ``RuntimeError`` with the end of its log when it does not."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not come up:\n{self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.01)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Take no message while the block runs: its main process, which receives them, is stopped meanwhile."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Warm shutdown; what does not end in time is killed with all its children."""
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._temporary.cleanup()
