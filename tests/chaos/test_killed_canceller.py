"""A client is killed while it cancels runs that undo what has completed; another cancels all of them once more."""

from __future__ import annotations

import json
import subprocess
import sys

import checker
import episode
import failing_flows as flows
import pytest
from arena import Arena
from stage import eventually

from hephaestus_celery import NotCancellableError
from hephaestus_celery.embedded import EmbeddedServer

RUNS = 24
KILLED_AT = RUNS // 3  # cancellations
CANCELLER = """
import json, sys
from chaos_app import hephaestus
for run_id in json.loads(sys.argv[1]):
    sys.stdin.readline()
    hephaestus.cancel(run_id, compensate=True, reason="first")
    print(run_id, flush=True)
"""
"""Cancels a run for each line that it gets."""


@pytest.fixture
def arena(server_program, tmp_path):
    with EmbeddedServer() as server:
        arena = Arena(server, module="chaos_app", folder=tmp_path)
        try:
            arena.open()
            yield arena
        finally:
            arena.close()
            print(arena.logs()[-6000:])


def entries(arena, run_id, kind):
    return [entry for entry in arena.hephaestus.history(run_id) if entry.kind == kind]


def cancelled_again(arena, run_ids):
    """Cancel all, as whoever knows nothing of the one that was killed; gives those that it found cancelled."""
    found = []
    for run_id in run_ids:
        try:
            arena.hephaestus.cancel(run_id, compensate=True, reason="second")
        except NotCancellableError:
            found.append(run_id)
    return found


def test_each_run_is_cancelled_and_undone_once_though_its_canceller_is_killed(arena):
    handles = arena.hephaestus.start_many(flows.Withdrawn, ((f"k{number}", {}) for number in range(RUNS)))
    run_ids = [handle.run_id for handle in handles]
    eventually(
        lambda: all(flows.A in handle.get().completed_steps for handle in handles), timeout=60, what="all can be undone"
    )
    command = [sys.executable, "-c", CANCELLER, json.dumps(run_ids)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, env=arena.environment("client"), **pipes) as client:
        for run_id in run_ids[:KILLED_AT]:
            client.stdin.write("\n")
            assert client.stdout.readline().strip() == run_id
        client.stdin.write("\n")  # it is killed in the middle of the next
        client.kill()
    found = cancelled_again(arena, run_ids)
    assert found in (run_ids[:KILLED_AT], run_ids[: KILLED_AT + 1])
    episode.settle(arena)
    arena.stop_workers()
    for run_id in run_ids:
        [cancellation] = entries(arena, run_id, "cancel")
        assert cancellation.reason == ("first" if run_id in found else "second")
    started = [episode.Started(run_id=run_id, at=0) for run_id in run_ids]
    verdict = checker.check(arena, episode.Episode(fault="", seed=0, started=started), silences=True)
    assert (verdict.problems, verdict.completed) == ([], RUNS)
