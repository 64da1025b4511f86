"""How much of the server's memory a finished run takes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import islice

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Measure, at_most, ratio, value
from benchmarks.flows import CHAINS
from benchmarks.measure import burst_seconds
from benchmarks.settings import NAMESPACE
from benchmarks.stage import Stage

KIB = 1024
_NOT_DATA = ("mem_aof_buffer", "mem_clients_normal")
_SAMPLE = 50
_OWN_KEYS = ("run", "start", "history")


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """Of ten steps, each with a small result."""
    runs = bench.scale.memory_runs
    with bench.stage() as stage:
        yield Contest(
            title="memory for each finished run of 10 steps",
            unit="KiB",
            contestants={"ours": _ours(stage, runs=runs), "chain": _chain(stage, runs=runs)},
            lines=[
                value("ours: a minute later", unit="KiB", budget=at_most(6)),
                value("ours: right after the end", unit="KiB"),
                ratio("ours: a minute later", "chain", title="ours, a minute later / chain"),
            ],
            notes=[
                (
                    f"what used_memory grows by with {runs} runs, buffers of connections and of the AOF taken off; the chain "
                    "keeps ten results, for a day"
                ),
                (
                    "'a minute later': the answers to repeated calls, which live for a minute after the end, were deleted "
                    "by the benchmark to save the wait"
                ),
                "'its own keys': MEMORY USAGE of run, start and history; the rest is indexes and the keyspace",
            ],
            settle=stage.settle,
            most_rounds=3,
        )


def _ours(stage: Stage, *, runs: int) -> Measure:
    def measure() -> Mapping[str, float]:
        before = _used(stage)
        burst_seconds(stage.marks, lambda marked: stage.client.start_many(CHAINS[10], marked), count=runs)
        stage.settle()
        at_once = _used(stage)
        _delete_answers(stage)
        return {
            "a minute later": (_used(stage) - before) / runs / KIB,
            "right after the end": (at_once - before) / runs / KIB,
            "its own keys": _own_keys(stage) / KIB,
        }

    return measure


def _chain(stage: Stage, *, runs: int) -> Measure:
    def measure() -> float:
        before = _used(stage)
        burst_seconds(stage.marks, lambda marked: stage.client.canvas.chains(10, marked), count=runs)
        stage.settle()
        return (_used(stage) - before) / runs / KIB

    return measure


def _used(stage: Stage) -> int:
    found = stage.server.info("memory")
    return found["used_memory"] - sum(found.get(name, 0) for name in _NOT_DATA)


def _delete_answers(stage: Stage) -> None:
    for key in stage.server.scan_iter(match=f"{NAMESPACE}:{{*}}:answers:*", count=1000):
        stage.server.delete(key)


def _own_keys(stage: Stage) -> float:
    """The mean over some runs."""
    found = stage.server.scan_iter(match=f"{NAMESPACE}:{{*}}:run:*", count=1000)
    runs = [key.decode() for key in islice(found, _SAMPLE)]
    total = 0
    for key in runs:
        for kind in _OWN_KEYS:
            total += stage.server.memory_usage(key.replace(":run:", f":{kind}:"), samples=0) or 0
    return total / len(runs)
