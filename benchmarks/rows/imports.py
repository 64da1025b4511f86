"""How long the package takes to import, in a process that has imported nothing yet."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Figures, Line, Measure, at_most, ratio
from benchmarks.worker import ROOT

CODE = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
STATEMENTS = {
    "package": "import hephaestus_celery",
    "celery.app": "import celery.app",
    "with its Celery runner": "import hephaestus_celery.runners.celery, hephaestus_celery.storage.redis",
    "Celery on Redis": "import celery, kombu.transport.redis; celery.Celery(broker='redis://').finalize()",
}
ALLOWED_FACTOR, ALLOWED_MILLISECONDS = 1.3, 60


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """Fresh interpreters, whose compiled files are warm in a cache of the benchmark's own."""
    times = bench.scale.interpreters
    with tempfile.TemporaryDirectory(prefix="hephaestus-bench-") as cache:
        yield Contest(
            title="importing the package",
            unit="ms",
            contestants={name: _time(statement, cache, times=times) for name, statement in STATEMENTS.items()},
            lines=[
                Line(title="package / (1.3 celery.app + 60 ms)", value=_of_allowed, budget=at_most(1)),
                ratio("package", "celery.app"),
                ratio("with its Celery runner", "Celery on Redis"),
            ],
            notes=[f"a figure is the median of {times} interpreters; their own start is not counted"],
        )


def _of_allowed(figures: Figures) -> float:
    return figures["package"] / (ALLOWED_FACTOR * figures["celery.app"] + ALLOWED_MILLISECONDS)


def _time(statement: str, cache: str, *, times: int) -> Measure:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def one() -> float:
        ran = subprocess.run(
            [sys.executable, "-c", CODE.format(statement)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return float(ran.stdout) * 1e3

    return lambda: statistics.median(one() for _ in range(times))
