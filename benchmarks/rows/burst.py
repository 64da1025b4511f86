"""How many steps a second a worker does when many chains are started at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Measure, at_least, ratio
from benchmarks.flows import CHAINS
from benchmarks.measure import burst_seconds
from benchmarks.settings import UNLISTED
from benchmarks.stage import Stage

STEPS = 10


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """On the shared stage."""
    with bench.stage() as stage:
        yield _contest(bench, stage, worker="prefork 2", budgeted=True)


@contextmanager
def threads(bench: Bench) -> Generator[Contest]:
    """The same on a worker with two threads, for information."""
    with Stage(pool="threads") as stage:
        yield _contest(bench, stage, worker="threads 2", budgeted=False)


@contextmanager
def unlisted(bench: Bench) -> Generator[Contest]:
    """The same on a worker as applications may have it that run workflows only, for information."""
    with Stage(transport=UNLISTED) as stage:
        yield _contest(bench, stage, worker="prefork 2, ack_emulation off", budgeted=False)


def ours(stage: Stage, *, runs: int) -> Measure:
    """Steps a second of so many of our chains, started one after the other by one client."""
    return _pace(stage, lambda marked: stage.client.start_many(CHAINS[STEPS], marked), count=runs, steps=STEPS)


def chains(stage: Stage, *, runs: int, late: bool = False) -> Measure:
    """Steps a second of so many of Celery's chains."""
    canvas = stage.client.canvas
    return _pace(stage, lambda marked: canvas.chains(STEPS, marked, late=late), count=runs, steps=STEPS)


def _contest(bench: Bench, stage: Stage, *, worker: str, budgeted: bool) -> Contest:
    runs = bench.scale.burst_runs
    tasks = runs * STEPS
    bare = stage.client.canvas.bare
    return Contest(
        title=f"{runs} chains of 10 steps at once, {worker}",
        unit="steps/s",
        contestants={
            "ours": ours(stage, runs=runs),
            "chain": chains(stage, runs=runs),
            "bare": _pace(stage, bare, count=tasks, steps=1),
            "bare, queued before": _pace(stage, bare, count=tasks, steps=1, queued=True),
            "asking": _pace(stage, stage.client.canvas.asking, count=tasks, steps=1),
            "chain, acks_late": chains(stage, runs=runs, late=True),
        },
        lines=[
            ratio("ours", "chain", budget=at_least(1.5) if budgeted else None),
            ratio("ours", "bare", budget=at_least(0.8) if budgeted else None),
            ratio("ours", "bare, queued before"),
            ratio("ours", "asking"),
            ratio("asking", "chain"),
            ratio("asking", "bare"),
            ratio("ours", "chain, acks_late"),
        ],
        notes=[
            (
                f"bare: {tasks} no-op tasks with ignore_result, sent by delay(); the client that starts and sends is "
                "measured too, as it shares the processors, but for 'queued before'"
            ),
            "asking: the same tasks with acks_late, each of which asks the server twice for nothing (PING)",
            "the end is seen through shared memory: waiting costs no contestant anything",
        ],
        settle=stage.settle,
        weight=2 if budgeted else 1,
    )


def _pace(
    stage: Stage, send: Callable[[Sequence[int]], None], *, count: int, steps: int, queued: bool = False
) -> Measure:
    return lambda: (
        count * steps / burst_seconds(stage.marks, send, count=count, held=stage.worker.paused() if queued else None)
    )
