"""Everything is killed in the middle of a bulk retry: callers, workers with their schedulers, and the store."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import checker
import episode
import mending_flows
import pytest
from arena import Arena
from mending_flows import Mendable
from stage import eventually

from hephaestus_celery import Status, StorageError
from hephaestus_celery.embedded import EmbeddedServer

RUNS = 240
KILLED_AT = (RUNS // 4, RUNS // 2)  # retries
CALLER = "import mending_app; mending_app.retry_all(); print('done', flush=True)"


@pytest.fixture
def arena(server_program, tmp_path):
    with EmbeddedServer() as server:
        arena = Arena(server, module="mending_app", folder=tmp_path)
        try:
            arena.keep_every_write()
            arena.open()
            yield arena
        finally:
            arena.close()
            print(arena.logs()[-6000:])


def kill_everything(arena, caller):
    """SIGKILL to all processes at one moment; the store and the workers come back."""
    victims = list(arena.live)
    with ThreadPoolExecutor(len(victims) + 2) as pool:
        for kill in (caller.kill, arena.server.kill, *(victim.kill for victim in victims)):
            pool.submit(kill)
    assert "done" not in caller.communicate()[0]
    arena.server.start()
    arena.keep_every_write()
    for victim in victims:
        arena.replace(victim)


def retried(arena):
    return arena.hephaestus.count(workflow=Mendable, retried=True)


def repeated(call):
    """What an operator does: the call again, until it ends well."""

    def ended_well():
        try:
            return call()
        except StorageError:
            return None

    return eventually(ended_well, timeout=60, what="the call ends well")


def test_each_mended_run_goes_on_once_though_everything_is_killed_in_the_middle(arena, tmp_path):
    handles = arena.hephaestus.start_many(Mendable, ((f"m{number}", {"value": number}) for number in range(RUNS)))
    episode.settle(arena)
    assert arena.hephaestus.count(workflow=Mendable, status="failed") == RUNS
    (tmp_path / mending_flows.MENDED).touch()
    for count in KILLED_AT:
        command = [sys.executable, "-c", CALLER]
        caller = subprocess.Popen(command, env=arena.environment("caller"), stdout=subprocess.PIPE, text=True)
        eventually(lambda count=count: retried(arena) >= count, timeout=60, what=f"{count} retries")
        kill_everything(arena, caller)
    left = RUNS - repeated(lambda: (retried(arena),))[0]
    result = repeated(lambda: arena.hephaestus.retry_many(workflow=Mendable, status="failed"))
    assert left > 0
    assert result == (left, {})
    episode.settle(arena)
    arena.stop_workers()
    check(arena, handles)


def check(arena, handles):
    executed = Counter((note["run_id"], note["step"]) for note in arena.executions())
    successors = []
    for handle in handles:
        earlier = handle.get()
        kept = {entry.step for entry in handle.history() if entry.outcome == "completed"}
        assert (earlier.status, len(kept & {"fetch", "pack"})) == (Status.FAILED, 2)
        found = arena.hephaestus.get(earlier.retried_as)
        successors.append(found.run_id)
        assert (found.status, found.forked_from) == (Status.COMPLETED, handle.run_id)
        assert found.context.steps["fetch"] == {"data": mending_flows.LARGE}
        history = arena.hephaestus.history(found.run_id)
        assert [entry.kind for entry in history].count("fork") == 1
        completions = Counter(entry.step for entry in history if entry.outcome == "completed")
        assert completions == dict.fromkeys({"buggy", "send", "done"} - kept, 1)
        assert not [step for step in kept if executed[found.run_id, step]]
    assert len(set(successors)) == RUNS
    assert arena.hephaestus.count(workflow=Mendable) == 2 * RUNS
    assert list(checker.leftovers(arena, runs=2 * RUNS)) == []
