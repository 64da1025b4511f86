"""Whether a store that is full of finished runs is slower than an empty one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.contest import Contest, at_least, ratio
from benchmarks.filling import fill
from benchmarks.rows.burst import ours
from benchmarks.stage import Stage


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """Two servers with a worker each, of which one is idle: what a full server is slower at is not only our keys."""
    runs, stored = bench.scale.burst_runs, bench.scale.stored_runs
    with Stage() as empty, Stage() as full:
        fill(full, stored)

        def settle() -> None:
            full.settle()
            empty.settle()

        yield Contest(
            title=f"{runs} chains of 10 steps at once, with {stored} finished runs stored and with none",
            unit="steps/s",
            contestants={"full": ours(full, runs=runs), "empty": ours(empty, runs=runs)},
            lines=[ratio("full", "empty", budget=at_least(0.95))],
            notes=[
                "stored runs are copies of a real one, all keys and indexes included, made by a script in the server"
            ],
            settle=settle,
            weight=2,  # the difference is small, and the noise is not
        )
