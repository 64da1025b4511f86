"""The same faults on chains and chords of plain Celery, for the table beside ours."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path

import checker
import episode
import plain_app
import recorder
from arena import Arena
from faults import Fault
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from hephaestus_celery.embedded import EmbeddedServer

PATIENCE_SECONDS = 130
"""Without any progress, after which what is left counts as lost: the redelivery sweep comes every 100 seconds."""


def play(fault: Fault, *, seed: int, runs: int, folder: Path) -> episode.Episode:
    """Let a fault strike while ``runs`` chains and chords are started and executed."""
    chance = random.Random(f"{fault.name} {seed}")
    played = episode.Episode(fault=fault.name, seed=seed)
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer())
        arena = Arena(server, module="plain_app", folder=folder)
        stack.callback(arena.close)
        if fault.synced:
            arena.keep_every_write()
        arena.open()
        load = episode.Load(_Client(arena).start, runs=runs)
        episode.strike_until(load, fault, arena, chance, played.strikes)
        played.started = load.result()
        _settle(arena, played.started)
        arena.stop_workers()
        played.crashes = arena.crashes
        played.verdict = _judge(folder, played)
    return played


class _Client:
    def __init__(self, arena: Arena) -> None:
        self._app = plain_app.make_app(arena.broker, arena.namespace)

    def start(self, number: int) -> episode.Started:
        # Nobody waits for a result here; Celery would subscribe to each, and give up for ever after some seconds.
        backend = self._app.backend  # one for each thread
        backend.on_task_call = backend.remove_pending_result = lambda *_: None
        run_id = f"r{number}"
        while True:
            try:
                plain_app.canvas(self._app, run_id, number).apply_async()
                return episode.Started(run_id=run_id, at=time.time_ns())
            except (OperationalError, RedisError):
                time.sleep(0.1)


def _settle(arena: Arena, started: list[episode.Started]) -> None:
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < PATIENCE_SECONDS:
        arena.revive()
        done = recorder.read(arena.folder, "done")
        if len({record["run_id"] for record in done if record["step"] == "last"}) == len(started):
            time.sleep(1)  # for doubles on their way
            return
        if len(done) != seen:
            seen, since = len(done), time.monotonic()
        time.sleep(0.5)


def _judge(folder: Path, played: episode.Episode) -> checker.Verdict:
    executed: dict[str, Counter[str]] = defaultdict(Counter)
    done: dict[str, dict[str, int]] = defaultdict(dict)
    for record in recorder.read(folder, "executed"):
        executed[record["run_id"]][record["step"]] += 1
    for record in recorder.read(folder, "done"):
        done[record["run_id"]].setdefault(record["step"], record["at"])
    verdict = checker.Verdict(runs=len(played.started))
    for started in played.started:
        counts = executed[started.run_id]
        verdict.completed += "last" in done[started.run_id]
        verdict.steps += len(counts)
        verdict.executed_again += sum(1 for count in counts.values() if count > 1)
        verdict.committed_twice += counts["last"] > 1
    verdict.recoveries = [_recovery(strike.at, played.started, done) for strike in played.strikes]
    return verdict


def _recovery(struck: int, started: list[episode.Started], done: dict[str, dict[str, int]]) -> float:
    # As for workflows; a run that never went on has no time to give.
    under_way = [done[run.run_id].values() for run in started if run.at < struck]
    return max((min((at - struck for at in ats if at > struck), default=0) for ats in under_way), default=0) / 1e9
