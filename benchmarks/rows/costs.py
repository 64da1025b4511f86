"""What a step costs in messages and commands: counted, not timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.commands import Recording, record
from benchmarks.contest import Contest, Measure, exactly, ratio, value
from benchmarks.flows import CHAINS
from benchmarks.stage import Stage

STEPS = 10
_TAIL_SECONDS = 0.2
"""How long acknowledgements and the like may come after the last task's body."""


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """Ten-step chains, one after the other, of ours and of Celery's."""
    runs = bench.scale.counted_runs
    with bench.stage() as stage:
        yield Contest(
            title=f"messages and commands per step ({runs} chains of 10 steps and Done)",
            unit="per step",
            contestants={
                "ours": _ours(stage, runs=runs),
                "chain": _chain(stage, runs=runs),
            },
            lines=[
                value("ours: broker messages", unit="per step", budget=exactly(1)),
                value("ours: store round trips", unit="per step", budget=exactly(2)),
                *(
                    ratio(f"ours: {detail}", f"chain: {detail}", title=f"ours / chain: {detail}")
                    for detail in ("all commands", "KiB to the server", "KiB from the server")
                ),
            ],
            notes=[
                (
                    "read from MONITOR; bytes from INFO, without MONITOR. The start of a run is left out of its store round "
                    "trips, and the scheduler's ticks, which come once a second whatever there is to do"
                ),
                "'in scripts': commands that the server runs inside the store's scripts, starts included",
            ],
            settle=stage.settle,
            most_rounds=2,
        )


def _ours(stage: Stage, *, runs: int) -> Measure:
    def one(mark: int) -> None:
        stage.client.start(CHAINS[STEPS], mark=mark)

    def counts(recording: Recording) -> Mapping[str, float]:
        return {
            "broker messages": recording.messages(),
            "store round trips": recording.store_calls(),
            "broker commands": recording.broker_commands(),
            "all commands": recording.all_commands(),
            "in scripts": recording.scripted(),
        }

    return lambda: _per_step(stage, one, counts, runs=runs)


def _chain(stage: Stage, *, runs: int) -> Measure:
    def one(mark: int) -> None:
        stage.client.canvas.chain(STEPS, mark=mark)

    def counts(recording: Recording) -> Mapping[str, float]:
        return {
            "broker messages": recording.messages(),
            "broker commands": recording.broker_commands(),
            "all commands": recording.all_commands(),
        }

    return lambda: _per_step(stage, one, counts, runs=runs)


def _per_step(
    stage: Stage, one: Callable[[int], None], counts: Callable[[Recording], Mapping[str, float]], *, runs: int
) -> Mapping[str, float]:
    steps = runs * STEPS
    with record(stage.server) as recording:
        _play(stage, one, runs=runs)
    before = stage.server.info("stats")
    _play(stage, one, runs=runs)
    after = stage.server.info("stats")
    traffic = {
        f"KiB {way} the server": (after[field] - before[field]) / 1024
        for way, field in (("to", "total_net_input_bytes"), ("from", "total_net_output_bytes"))
    }
    return {name: count / steps for name, count in {**counts(recording), **traffic}.items()}


def _play(stage: Stage, one: Callable[[int], None], *, runs: int) -> None:
    for _ in range(runs):
        stage.marks.clear(1)
        one(0)
        stage.marks.wait(1, seconds=30)
    time.sleep(_TAIL_SECONDS)
