"""The benchmark's side of a rival: its process, and what is asked of it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.measure import PATIENCE_SECONDS
from benchmarks.shield import shielded
from benchmarks.worker import ROOT

STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One that could take part: its client, the packages that it needs, and how its figures are to be read."""

    name: str
    module: str
    arguments: Sequence[str] = ()
    packages: Sequence[str]
    keeps: str

    def missing(self) -> Sequence[str]:
        """The packages that are not installed."""
        return [package for package in self.packages if importlib.util.find_spec(package) is None]


class Rival:
    """Its client process while the ``with`` block runs; the client's own workers end with it."""

    def __init__(self, entry: Entry, *, folder: Path, environment: Mapping[str, str]) -> None:
        self._entry = entry
        self._log = folder / f"{entry.name}.log"
        self._environment = environment

    def __enter__(self) -> Self:
        with shielded(), self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._entry.module, *self._entry.arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with shielded():
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()  # it ends then, and stops its workers
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def ask(self, word: str, count: int) -> float:
        """``latency`` or ``burst`` of so many pipelines; ``RuntimeError`` with the end of its log when it fails."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word} {count}\n".encode())
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> float:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(2 * PATIENCE_SECONDS) else b""
        if not line:
            raise RuntimeError(f"{self._entry.name} did not answer:\n{self._log.read_text(errors='replace')[-2000:]}")
        return float(json.loads(line))
