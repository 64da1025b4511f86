"""Other libraries with pipelines or workflows, on ten steps; without budgets, since each keeps something else."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import Bench
from benchmarks.contest import Contest, Measure, ratio
from benchmarks.flows import CHAINS
from benchmarks.marks import VARIABLE as MARKS_VARIABLE
from benchmarks.measure import PATIENCE_SECONDS, median_milliseconds
from benchmarks.others.postgres import find_postgres
from benchmarks.others.rival import Entry, Rival
from benchmarks.rows import burst as bursts
from benchmarks.settings import URL_VARIABLE
from benchmarks.stage import Stage

STEPS = 10

ENTRIES = (
    Entry(
        name="dramatiq",
        module="benchmarks.others.dramatiq_client",
        packages=("dramatiq",),
        keeps="the message that comes next, acknowledged late, and ten results, on the same server (AOF, everysec); no "
        "state of the run and no history; two processes of one thread",
    ),
    Entry(
        name="taskiq",
        module="benchmarks.others.taskiq_client",
        packages=("taskiq", "taskiq_redis", "taskiq_pipelines"),
        keeps="the message that comes next, in a stream with acknowledgements, and ten results, on the same server (AOF, "
        "everysec); no state of the run and no history; two processes, each with up to 100 coroutines",
    ),
    Entry(
        name="dbos, SQLite",
        module="benchmarks.others.dbos_client",
        arguments=("sqlite",),
        packages=("dbos",),
        keeps="inputs and the result of each step, in SQLite (synchronous FULL: on disk at each commit); runs where it is "
        "called, in threads of one process: no broker, no other worker",
    ),
    Entry(
        name="dbos, PostgreSQL",
        module="benchmarks.others.dbos_client",
        arguments=("postgresql",),
        packages=("dbos", "psycopg"),
        keeps="the same in PostgreSQL (fsync and synchronous_commit on: on disk at each commit)",
    ),
)

OURS_KEEPS = (
    "ours keeps state, results, timers and history of each run on the server (AOF, everysec: a second may be lost)"
)


@contextmanager
def latency(bench: Bench) -> Generator[Contest]:
    """Ten steps, idle, until the client knows the end."""
    times = bench.scale.latency_runs
    with bench.stage() as stage:
        rivals, notes = bench.keep("rivals", lambda: _rivals(stage))
        canvas = stage.client.canvas
        contestants: dict[str, Measure] = {
            "ours": lambda: median_milliseconds(lambda: stage.client.complete(CHAINS[STEPS]), times=times),
            "chain": lambda: median_milliseconds(
                lambda: canvas.chain(STEPS).get(timeout=PATIENCE_SECONDS), times=times
            ),
            **{name: _asked(rival, "latency", times) for name, rival in rivals.items()},
        }
        yield Contest(
            title="10 steps, idle: p50 latency, with others",
            unit="ms",
            contestants=contestants,
            lines=[ratio("ours", name) for name in contestants if name != "ours"],
            notes=notes,
            settle=stage.settle,
        )


@contextmanager
def burst(bench: Bench) -> Generator[Contest]:
    """Many at once."""
    runs = bench.scale.burst_runs
    with bench.stage() as stage:
        rivals, notes = bench.keep("rivals", lambda: _rivals(stage))
        contestants: dict[str, Measure] = {
            "ours": bursts.ours(stage, runs=runs),
            "chain": bursts.chains(stage, runs=runs),
            **{name: _asked(rival, "burst", runs) for name, rival in rivals.items()},
        }
        yield Contest(
            title=f"{runs} times 10 steps at once, with others",
            unit="steps/s",
            contestants=contestants,
            lines=[ratio("ours", name) for name in contestants if name != "ours"],
            notes=notes,
            settle=stage.settle,
        )


@contextmanager
def _rivals(stage: Stage) -> Generator[tuple[Mapping[str, Rival], list[str]]]:
    """Those that are installed, started; and what is to be said of all."""
    rivals: dict[str, Rival] = {}
    notes = [OURS_KEEPS]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="hephaestus-bench-")))
        for entry in ENTRIES:
            absent = _absent(entry)
            if absent is not None:
                notes.append(f"{entry.name}: {absent}")
                continue
            environment = {
                **stage.environment,
                URL_VARIABLE: stage.url,
                MARKS_VARIABLE: str(folder / f"{entry.name}.marks"),
            }
            rivals[entry.name] = stack.enter_context(Rival(entry, folder=folder, environment=environment))
            notes.append(f"{entry.name}: keeps {entry.keeps}")
        yield rivals, notes


def _absent(entry: Entry) -> str | None:
    missing = entry.missing()
    if missing:
        return f"not installed ({', '.join(missing)})"
    if "postgresql" in entry.arguments and find_postgres() is None:
        return "no PostgreSQL server on the PATH"
    return None


def _asked(rival: Rival, word: str, count: int) -> Measure:
    return lambda: rival.ask(word, count)
