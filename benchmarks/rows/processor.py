"""Where the processor time of a step goes: client, worker, pool, server."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Measure, ratio
from benchmarks.flows import CHAINS
from benchmarks.measure import burst_seconds
from benchmarks.processor import processor_seconds
from benchmarks.stage import Stage

STEPS = 10


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """Of many chains at once, for information."""
    runs = bench.scale.burst_runs
    with bench.stage() as stage:
        client, canvas = stage.client, stage.client.canvas
        yield Contest(
            title=f"processor time per step, {runs} chains of 10 steps at once, prefork 2",
            unit="ms",
            contestants={
                "ours": _times(stage, lambda marked: client.start_many(CHAINS[STEPS], marked), count=runs, steps=STEPS),
                "chain": _times(stage, lambda marked: canvas.chains(STEPS, marked), count=runs, steps=STEPS),
                "bare": _times(stage, canvas.bare, count=runs * STEPS, steps=1),
                "asking": _times(stage, canvas.asking, count=runs * STEPS, steps=1),
            },
            lines=[
                ratio("ours: all", "chain: all", title="ours / chain"),
                ratio("ours: all", "bare: all", title="ours / bare"),
                ratio("ours: all", "asking: all", title="ours / asking"),
            ],
            notes=[
                "taken from /proc, to 10 ms of the whole; 'worker' is its main process, 'pool' its two children",
                "asking: tasks with acks_late that ask the server twice for nothing (PING)",
            ],
            settle=stage.settle,
        )


def _times(stage: Stage, send: Callable[[Sequence[int]], None], *, count: int, steps: int) -> Measure:
    def measure() -> Mapping[str, float]:
        before = processor_seconds(stage)
        burst_seconds(stage.marks, send, count=count)
        stage.settle()
        after = processor_seconds(stage)
        used = {part: (after[part] - before[part]) / (count * steps) * 1e3 for part in before}
        return {"all": sum(used.values()), **used}

    return measure
