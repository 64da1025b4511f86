"""The workers of the shop: real ones, each started, stopped and killed by a line that the operator types."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.hour.terminal import Terminal, UnexpectedError
from benchmarks.shield import shielded

READY_SECONDS, STOP_SECONDS = 60.0, 30.0
_GLANCE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One ``celery worker`` with a pool of processes; its process leads a group, to which those of its pool belong."""

    name: str
    process: subprocess.Popen[bytes]


class Workers:
    """All workers that live; leaving the ``with`` block kills them."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._living: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._living:
            _kill(worker)

    def start(self, *names: str, options: str = "") -> None:
        """Start workers of these names, and return when they consume."""
        started = [self._launch(name, options) for name in names]
        for worker in started:
            self._wait_ready(worker)

    def stop(self) -> None:
        """End all of them by a warm shutdown: what they execute they finish."""
        line = f"kill {' '.join(str(worker.process.pid) for worker in self._living)}"
        self._terminal.type(line)
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._living:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise UnexpectedError(
                    f"{worker.name} ends within {STOP_SECONDS:g} s; {self._end_of_log(worker)}"
                ) from error
        self._living.clear()

    def kill(self, name: str) -> None:
        """Kill the worker of this name and its pool, as a power failure would."""
        worker = next(each for each in self._living if each.name == name)
        self._terminal.type(f"kill -9 -{worker.process.pid}")
        worker.process.wait()
        self._living.remove(worker)

    def _launch(self, name: str, options: str) -> Worker:
        line = f"celery -A shop worker -n {name}@shop -c 2 {options}".strip()
        number = len(self._living) + 1
        with shielded(), self._log(name).open("wb") as log:
            process = subprocess.Popen(
                shlex.split(line),
                cwd=self._terminal.folder,
                env=dict(self._terminal.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            worker = Worker(name=name, process=process)
            self._living.append(worker)
        self._terminal.keep(f"{line} &", f"[{number}] {process.pid}")
        return worker

    def _wait_ready(self, worker: Worker) -> None:
        log = self._log(worker.name)
        deadline = time.monotonic() + READY_SECONDS
        while f"{worker.name}@shop ready" not in log.read_text(errors="replace"):
            if worker.process.poll() is not None or time.monotonic() > deadline:
                raise UnexpectedError(f"{worker.name} takes messages; {self._end_of_log(worker)}")
            time.sleep(_GLANCE_SECONDS)

    def _log(self, name: str) -> Path:
        return self._terminal.folder / f"{name}.log"

    def _end_of_log(self, worker: Worker) -> str:
        return f"its log ends with:\n{self._log(worker.name).read_text(errors='replace')[-3000:]}"


def _kill(worker: Worker) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
