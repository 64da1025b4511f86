"""How long a fan-out of 100 takes with the step that joins it, from its start until the client knows its end."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Measure, at_most, ratio
from benchmarks.flows import FAN_OUTS
from benchmarks.measure import PATIENCE_SECONDS, median_milliseconds
from benchmarks.stage import Stage

WIDTH = 100


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """Ours against Celery's chord."""
    times = bench.scale.fan_outs
    with bench.stage() as stage:
        yield Contest(
            title=f"fan-out of {WIDTH} and its join, idle",
            unit="ms",
            contestants={
                "ours": lambda: median_milliseconds(lambda: stage.client.complete(FAN_OUTS[WIDTH]), times=times),
                "chord": _chord(stage, times=times),
                "chord, acks_late": _chord(stage, times=times, late=True),
            },
            lines=[ratio("ours", "chord", budget=at_most(0.7)), ratio("ours", "chord, acks_late")],
            notes=["ours has a step more: the one that fans out"],
            settle=stage.settle,
        )


def _chord(stage: Stage, *, times: int, late: bool = False) -> Measure:
    canvas = stage.client.canvas
    return lambda: median_milliseconds(
        lambda: canvas.chord(WIDTH, late=late).get(timeout=PATIENCE_SECONDS), times=times
    )
