"""What a step costs as something grows: the context of a run, the number of its steps, the number of workers."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Measure, ratio
from benchmarks.flows import CHAINS
from benchmarks.measure import burst_seconds, median_milliseconds
from benchmarks.stage import Stage

CONTEXTS = {"no context": 0, "64 KiB": 64 * 1024, "1 MiB": 1000 * 1024}
"""The last is what `hephaestus_max_payload` allows, less the names in it."""
LENGTHS = (10, 100, 500)
WORKERS = 8


@contextmanager
def contexts(bench: Bench) -> Generator[Contest]:
    """Chains that carry a large initial context: a claim hands all of it to the step."""
    times = max(3, bench.scale.latency_runs // 4)
    with bench.stage() as stage:
        yield Contest(
            title="chain of 5 steps, idle, by the size of its context: p50 per step",
            unit="ms",
            contestants={name: _carrying(stage, size, times=times) for name, size in CONTEXTS.items()},
            lines=[ratio(name, "no context") for name in list(CONTEXTS)[1:]],
            settle=stage.settle,
        )


@contextmanager
def long(bench: Bench) -> Generator[Contest]:
    """Long chains: up to 128 steps a claim hands over the whole run, beyond that what lies in the step's past."""
    with bench.stage() as stage:
        yield Contest(
            title="one chain after the other, by its length: time per step",
            unit="ms",
            contestants={f"{length} steps": _long(stage, length) for length in LENGTHS},
            lines=[ratio(f"{length} steps", f"{LENGTHS[0]} steps") for length in LENGTHS[1:]],
            notes=["each step of a chain has all steps before it in its past"],
            settle=stage.settle,
        )


@contextmanager
def workers(bench: Bench) -> Generator[Contest]:
    """The same work on one worker and on eight, all on this machine."""
    runs = bench.scale.burst_runs
    with contextlib.ExitStack() as stack:
        stages = {
            name: stack.enter_context(Stage(workers=count))
            for name, count in (("1 worker", 1), (f"{WORKERS} workers", WORKERS))
        }
        yield Contest(
            title=f"{runs} chains of 10 steps at once, prefork 2 each, by the number of workers",
            unit="steps/s",
            contestants={name: _pace(stage, runs) for name, stage in stages.items()},
            lines=[ratio(f"{WORKERS} workers", "1 worker")],
            notes=[
                "two processors are what they share: the line says what more workers cost, not what they bring elsewhere"
            ],
            settle=lambda: [stage.settle() for stage in stages.values()] and None,
        )


def _carrying(stage: Stage, size: int, *, times: int) -> Measure:
    context = {"text": "x" * size} if size else {}
    client = stage.client
    return lambda: median_milliseconds(lambda: client.complete(CHAINS[5], context), times=times) / 5


def _long(stage: Stage, length: int) -> Measure:
    return lambda: median_milliseconds(lambda: stage.client.complete(CHAINS[length]), times=1) / length


def _pace(stage: Stage, runs: int) -> Measure:
    client = stage.client
    return lambda: (
        10 * runs / burst_seconds(stage.marks, lambda marked: client.start_many(CHAINS[10], marked), count=runs)
    )
