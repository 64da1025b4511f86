"""Whether a wide join costs more for each of its branches than a narrow one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Measure, at_most, ratio
from benchmarks.flows import FAN_OUTS
from benchmarks.measure import burst_seconds
from benchmarks.stage import Stage

NARROW = 10


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """As many branches in one run as in many narrow ones."""
    wide = bench.scale.join_width
    with bench.stage() as stage:
        yield Contest(
            title=f"join of {wide} against joins of {NARROW}, as many branches at once: time per branch",
            unit="ms",
            contestants={
                f"join of {wide}": _time(stage, wide, runs=1),
                f"join of {NARROW}": _time(stage, NARROW, runs=wide // NARROW),
            },
            lines=[ratio(f"join of {wide}", f"join of {NARROW}", budget=at_most(1.2))],
            notes=[
                (
                    "the steps that fan out and join count as branches, as there are more of them in the narrow runs; all "
                    "runs are started before the worker is let go"
                )
            ],
            settle=stage.settle,
        )


def _time(stage: Stage, width: int, *, runs: int) -> Measure:
    steps = runs * (width + 2)
    client = stage.client
    return lambda: (
        burst_seconds(
            stage.marks,
            lambda marked: client.start_many(FAN_OUTS[width], marked),
            count=runs,
            held=stage.worker.paused(),
        )
        / steps
        * 1e3
    )
