"""What an event costs the process that emits it."""

from __future__ import annotations

import logging
import timeit
from collections.abc import Callable, Generator
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Measure, at_most, value
from benchmarks.flows import CHAINS
from hephaestus_celery import Hephaestus, Instance, Step, telemetry

NOBODY, LOGGED = "no handler", "log handler"


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """``step.stop`` with all the fields that a worker gives it, in this process."""
    with Hephaestus(name="bench-emit") as local:
        instance = local.start_instance(CHAINS[10], {}, id="emit").wait(30)
    emit = _emit(instance)
    count = bench.scale.timed_calls
    yield Contest(
        title="emitting an event",
        unit="us",
        contestants={NOBODY: _microseconds(emit, count=count * 10), LOGGED: _logged(emit, count=count)},
        lines=[
            value(NOBODY, unit="us", budget=at_most(1)),
            value(LOGGED, unit="us", budget=at_most(25)),
        ],
        notes=["log handler: a logger at INFO formats every record with its time, and writes to nowhere"],
    )


class _Nowhere:
    """A stream that takes what it is given."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def _emit(instance: Instance) -> Callable[[], None]:
    step: type[Step] = CHAINS[10].graph.topological_order[0]
    extra = {
        "step_key": step.key,
        "event": "ok",
        "has_context_updates": True,
        "has_metadata_updates": False,
        "transitions_to": [step],
        "attempt": 1,
        "hostname": "worker@host",
        "task_id": f"{instance.run_id}:{step.key}:1.1",
        "sequence": 4,
    }
    return lambda: telemetry.step_stop(instance, step, 1_000_000, extra)


def _microseconds(call: Callable[[], None], *, count: int) -> Measure:
    return lambda: timeit.timeit(call, number=count) / count * 1e6


def _logged(call: Callable[[], None], *, count: int) -> Measure:
    def measure() -> float:
        logger = logging.getLogger("hephaestus_celery")
        handler = logging.StreamHandler(_Nowhere())
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        telemetry.log_handler.attach()
        try:
            return timeit.timeit(call, number=count) / count * 1e6
        finally:
            telemetry.log_handler.detach()
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate

    return measure
