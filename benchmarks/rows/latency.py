"""How long one chain takes on an idle worker, from its start until the client knows its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Measure, at_most, ratio
from benchmarks.flows import CHAINS
from benchmarks.measure import PATIENCE_SECONDS, median_milliseconds
from benchmarks.settings import UNLISTED
from benchmarks.stage import Stage

_GLANCE_SECONDS = 0.00005


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """Ten steps on the shared stage."""
    with bench.stage() as stage:
        yield _ten_steps(bench, stage, worker="prefork 2", budget=0.40)


@contextmanager
def threads(bench: Bench) -> Generator[Contest]:
    """The same on a worker with two threads, for information."""
    with Stage(pool="threads") as stage:
        yield _ten_steps(bench, stage, worker="threads 2", budget=None)


@contextmanager
def unlisted(bench: Bench) -> Generator[Contest]:
    """The same on a worker as applications may have it that run workflows only, for information."""
    with Stage(transport=UNLISTED) as stage:
        yield _ten_steps(bench, stage, worker="prefork 2, ack_emulation off", budget=None)


@contextmanager
def lengths(bench: Bench) -> Generator[Contest]:
    """Shorter and longer chains, for information."""
    times = max(3, bench.scale.latency_runs // 2)
    with bench.stage() as stage:
        contestants: dict[str, Measure] = {}
        for length in (1, 5, 20):
            contestants[f"ours, {length}"] = _ours(stage, length, times=times)
            contestants[f"chain, {length}"] = _chain(stage, length, times=times)
        yield Contest(
            title="chains of 1, 5 and 20 steps, idle: p50 latency",
            unit="ms",
            contestants=contestants,
            lines=[ratio(f"ours, {length}", f"chain, {length}") for length in (1, 5, 20)],
            settle=stage.settle,
        )


def _ten_steps(bench: Bench, stage: Stage, *, worker: str, budget: float | None) -> Contest:
    times = bench.scale.latency_runs
    return Contest(
        title=f"chain of 10 steps, idle: p50 latency, {worker}",
        unit="ms",
        contestants={
            "ours": _ours(stage, 10, times=times),
            "chain": _chain(stage, 10, times=times),
            "chain, acks_late": _chain(stage, 10, times=times, late=True),
            "ten bare tasks": _bare(stage, stage.client.canvas.bare, 10, times=times),
            "ten asking": _bare(stage, stage.client.canvas.asking, 10, times=times),
        },
        lines=[
            ratio("ours", "chain", budget=None if budget is None else at_most(budget)),
            ratio("ours", "chain, acks_late"),
            ratio("ours", "ten bare tasks"),
            ratio("ours", "ten asking"),
            ratio("ten bare tasks", "chain"),
            ratio("ten asking", "chain"),
        ],
        notes=[
            f"start until wait() or get() returns; a figure is the median of {times} runs, one after the other",
            (
                "ten bare tasks: each is sent when the one before has been executed, which is seen through shared memory; "
                "what is left is what ten messages take through broker and worker"
            ),
            "ten asking: the same with acks_late, and each asks the server twice for nothing (PING)",
        ],
        settle=stage.settle,
    )


def _ours(stage: Stage, length: int, *, times: int) -> Measure:
    return lambda: median_milliseconds(lambda: stage.client.complete(CHAINS[length]), times=times)


def _bare(stage: Stage, send: Callable[[Sequence[int]], None], length: int, *, times: int) -> Measure:
    def one() -> None:
        for _ in range(length):
            stage.marks.clear(1)
            send([0])
            stage.marks.wait(1, seconds=PATIENCE_SECONDS, glance=_GLANCE_SECONDS)

    return lambda: median_milliseconds(one, times=times)


def _chain(stage: Stage, length: int, *, times: int, late: bool = False) -> Measure:
    canvas = stage.client.canvas
    return lambda: median_milliseconds(
        lambda: canvas.chain(length, late=late).get(timeout=PATIENCE_SECONDS), times=times
    )
