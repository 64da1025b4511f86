"""Pauses on real workers: in a burst and a deployment, beside workers of older code, and with all workers killed at its end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter

import flows
import pytest
from stage import SUPPORT, eventually

from hephaestus_celery import RunStateError
from hephaestus_celery.core.values.pause import PausedBy
from hephaestus_celery.core.values.step_state import Held
from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.testing.capture import EventCapture

STEPS = 10
BURST = 100
READING = """
import json, sys
from hephaestus_celery import Hephaestus, RedisStorage

hephaestus = Hephaestus(storage=RedisStorage(sys.argv[1], namespace=sys.argv[2]))
print(json.dumps([[entry.kind for entry in hephaestus.history(run_id)] for run_id in sys.argv[3:]]))
"""


def executed(stage):
    return Counter((record["run_id"], record["step"]) for record in stage.executions())


def nothing_moves(stage, handles):
    """Whether no message waits, workers have dropped those that they had taken, and nothing is being executed."""
    return stage.waiting_messages() == 0 and not any(
        state.fence or (state.awaits_claim and state.held is not Held.UNSENT)
        for handle in handles
        for state in handle.get().step_states.values()
    )


def test_a_workflow_is_paused_in_a_burst_and_all_workers_are_replaced(make_stage):
    stage = make_stage()
    stage.switches["HEPHAESTUS_TEST_DELIVERIES"] = "1"
    workers = stage.start_workers(2)
    hephaestus = stage.hephaestus
    handles = [hephaestus.start_instance(flows.Wide, {"value": 1}, id=f"burst{number}") for number in range(BURST)]
    eventually(lambda: len(stage.executions()) > 40, what="the burst is on its way")
    assert hephaestus.pause_workflow(flows.Wide, by="ann")
    assert not hephaestus.pause_workflow(flows.Wide, by="bob")
    eventually(lambda: nothing_moves(stage, handles), timeout=60, what="nothing moves")
    before, delivered = executed(stage), len(stage.deliveries())
    assert sum(before.values()) < BURST * STEPS
    dropped = delivered - sum(before.values())
    assert dropped > 0

    later = [hephaestus.start_instance(flows.Wide, {"value": 1}, id=f"later{number}") for number in range(10)]
    for worker in workers:
        worker.kill()
    stage.start_workers(2)
    assert (stage.waiting_messages(), {handle.status for handle in later}) == (0, {"pending"})
    assert {(pause.reason, pause.by) for pause in later[0].get().pauses} == {(PausedBy.WORKFLOW, "ann")}
    assert len(list(hephaestus.list(paused=True, limit=1000))) == hephaestus.count(paused=True)
    assert hephaestus.count(paused=True, status="pending") >= 10
    assert (executed(stage), len(stage.deliveries())) == (before, delivered)

    assert hephaestus.unpause_workflow(flows.Wide)
    for handle in (*handles, *later):
        assert stage.outcome(handle).status == "completed"
    after = executed(stage)
    assert (len(after), set(after.values())) == ((BURST + 10) * STEPS, {1})
    assert len(stage.deliveries()) == (BURST + 10) * STEPS + dropped
    assert hephaestus.count(paused=True) == 0


def test_a_run_is_paused_and_goes_on_with_what_was_accepted(stage):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(flows.Payment, {"value": 1}, id="x1")
    eventually(lambda: handle.status == "waiting", what="the run waits")
    with EventCapture() as capture:
        assert handle.pause(by="ann")
        assert not handle.pause(by="bob")
    [paused] = capture.events
    assert (paused.event, paused.metadata["by"], paused.metadata["run_id"]) == (
        ("hephaestus", "workflow", "pause"),
        "ann",
        handle.run_id,
    )
    assert handle.get().paused
    handle.resume("paid", {"amount": 3})
    assert stage.waiting_messages() == 0
    with EventCapture() as capture:
        assert handle.unpause(by="bob")
        assert not handle.unpause()
    assert [event.event for event in capture.events] == [("hephaestus", "workflow", "unpause")]
    instance = stage.outcome(handle)
    assert (instance.status, instance.context.steps["wait_for_event"]) == ("completed", {"amount": 3})
    assert [(entry.kind, entry.by) for entry in handle.history() if entry.kind != "attempt"] == [
        ("pause", "ann"),
        ("unpause", "bob"),
        ("resume", None),
    ]
    numbers = [event["metadata"]["sequence"] for event in stage.emitted(handle.run_id, elsewhere=2)]
    missing = {*range(1, max(numbers) + 1)} - set(numbers)
    assert missing == {paused.metadata["sequence"], capture.events[0].metadata["sequence"]}
    with pytest.raises(RunStateError, match="has ended already \\(completed\\); only an active run can be paused"):
        handle.pause()
    assert not handle.unpause()


def test_all_workers_are_killed_while_runs_go_on(stage):
    hephaestus = stage.hephaestus
    workers = stage.start_workers(2)
    assert hephaestus.pause_workflow(flows.Linear)
    handles = [hephaestus.start_instance(flows.Linear, {"value": 1}, id=f"x{number}") for number in range(150)]
    assert hephaestus.unpause_workflow(flows.Linear)
    eventually(stage.executions, what="the first of them goes on")
    for worker in workers:  # a scheduler among them, whatever it has in hand
        worker.kill()
    stage.workers.clear()
    stage.start_workers(2)
    for handle in handles:
        assert stage.outcome(handle).status == "completed"
    assert len(executed(stage)) == 300


@pytest.mark.only_on("redis", why="it is the store that is restarted")
def test_pauses_survive_a_restart_of_everything(open_stage):
    with EmbeddedServer() as server:
        stage = open_stage(broker=server.url, state=server.url)
        hephaestus = stage.hephaestus
        workers = stage.start_workers()
        waiting = hephaestus.start_instance(flows.Payment, {"value": 1}, id="waiting")
        eventually(lambda: waiting.status == "waiting", what="the run waits")
        assert waiting.pause(by="ann")
        assert hephaestus.pause_workflow(flows.Linear, by="bob")
        before = hephaestus.start_instance(flows.Linear, {"value": 1}, id="before")
        for worker in workers:
            worker.kill()
        stage.workers.clear()
        server.restart()
        stage.start_workers(2)
        waiting.resume("paid", {"amount": 3})
        after = hephaestus.start_instance(flows.Linear, {"value": 1}, id="after")
        witness = hephaestus.start_instance(flows.Diamond, {"value": 1}, id="witness")
        assert stage.outcome(witness).status == "completed"
        assert {record["run_id"] for record in stage.executions()} == {witness.run_id}
        assert [(pause.reason, pause.by) for pause in waiting.get().pauses] == [(PausedBy.RUN, "ann")]
        assert [(pause.reason, pause.by) for pause in before.get().pauses] == [(PausedBy.WORKFLOW, "bob")]
        assert waiting.unpause()
        assert hephaestus.unpause_workflow(flows.Linear)
        for handle in (waiting, before, after):
            assert stage.outcome(handle).status == "completed"
        assert set(executed(stage).values()) == {1}


def test_a_resume_before_its_timeout_wins_when_the_run_goes_on(stage):
    stage.start_workers()
    resumed, late = (
        stage.hephaestus.start_instance(flows.SWORN, {"timeout": 5, "deaths": 0}, id=name)
        for name in ("resumed", "late")
    )
    eventually(lambda: {resumed.status, late.status} == {"waiting"}, what="both wait")
    for handle in (resumed, late):
        assert handle.pause()
    resumed.resume("given", {})
    eventually(lambda: late.get().step_states["vow"].resume is not None, what="the timeout of the other has come")
    for handle in (resumed, late):
        assert handle.unpause()
        assert stage.outcome(handle).status == "completed"
    applied = [
        [entry.kind for entry in handle.history() if entry.kind in ("resume", "timer")] for handle in (resumed, late)
    ]
    assert applied == [["resume"], ["timer"]]


def test_a_paused_run_is_cancelled(stage):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(flows.Payment, {"value": 1}, id="x1")
    eventually(lambda: handle.status == "waiting", what="the run waits")
    handle.pause()
    handle.resume("paid", {})
    handle.cancel(reason="enough", by="ann")
    assert (handle.status, handle.get().paused, handle.unpause()) == ("cancelled", False, False)
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1").wait(60).status == "completed"


@pytest.mark.only_on("redis", why="both sides talk to one store, whatever the broker")
def test_a_worker_of_older_code_leaves_a_paused_run_alone_and_goes_on_with_it_afterwards(stage, older_code):
    hephaestus = stage.hephaestus
    paused = hephaestus.start_instance(flows.Linear, {"value": 1}, id="paused")
    assert paused.pause(by="ann")
    stage.path = older_code
    [older] = stage.start_workers()
    plain = hephaestus.start_instance(flows.Linear, {"value": 1}, id="plain")
    assert stage.outcome(plain).status == "completed"
    eventually(lambda: "a newer hephaestus-celery has written (schema 2" in older.log.read_text(), what="it says so")
    assert {record["run_id"] for record in stage.executions()} == {plain.run_id}
    # Runs of a paused workflow that newer code has started send no message, so an older worker has none of them.
    assert hephaestus.pause_workflow(flows.Diamond)
    held = hephaestus.start_instance(flows.Diamond, {"value": 1}, id="held")
    assert stage.waiting_messages() == 0
    assert held.status == "pending"
    # All of it goes on, even where only older workers are left.
    assert paused.unpause()
    assert hephaestus.unpause_workflow(flows.Diamond)
    for handle in (paused, held):
        assert stage.outcome(handle).status == "completed"
    assert set(executed(stage).values()) == {1}
    assert "Traceback" not in older.log.read_text()


@pytest.mark.only_on("redis", why="both sides talk to one store, whatever the broker")
def test_workers_of_older_and_newer_code_work_side_by_side_with_pauses(stage, older_code):
    hephaestus = stage.hephaestus
    stage.path = older_code
    [older] = stage.start_workers()
    stage.path = [SUPPORT]
    stage.start_workers()
    handles = [hephaestus.start_instance(flows.Wide, {"value": 1}, id=f"x{number}") for number in range(40)]
    eventually(lambda: len(stage.executions()) > 10, what="they are on their way")
    for handle in handles:
        with contextlib.suppress(RunStateError):  # the first of them may have ended
            handle.pause()
    assert hephaestus.count(paused=True) > 0
    eventually(
        lambda: not any(state.fence for handle in handles for state in handle.get().step_states.values()),
        what="what was being executed has ended",
    )
    count = len(stage.executions())
    time_is_over = time.monotonic() + 2
    eventually(lambda: time.monotonic() > time_is_over, what="two more seconds are over")
    assert len(stage.executions()) == count
    for handle in handles:
        handle.unpause()
    for handle in handles:
        assert stage.outcome(handle).status == "completed"
    assert set(executed(stage).values()) == {1}
    assert "Traceback" not in older.log.read_text()


@pytest.mark.only_on("redis", why="it is about what is stored")
def test_older_code_reads_histories_that_say_who_did_what(stage, older_code):
    stage.start_workers()
    resumed, cancelled = (
        stage.hephaestus.start_instance(flows.Payment, {"value": 1}, id=name) for name in ("resumed", "cancelled")
    )
    eventually(lambda: {resumed.status, cancelled.status} == {"waiting"}, what="both wait")
    resumed.pause(by="ann")
    resumed.unpause(by="ann")
    resumed.resume("paid", {}, by="bob")
    assert stage.outcome(resumed).status == "completed"
    cancelled.cancel(by="cid")
    handles = (resumed, cancelled)
    command = [sys.executable, "-c", READING, stage.state, stage.namespace, *(handle.run_id for handle in handles)]
    path = os.pathsep.join(map(str, older_code))
    environment = {**os.environ, "PYTHONPATH": path}
    read = subprocess.run(command, cwd=older_code[-1], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(read.stdout) == [[entry.kind for entry in handle.history()] for handle in handles]
    assert [[entry.by for entry in handle.history() if entry.by] for handle in handles] == [
        ["ann", "ann", "bob"],
        ["cid"],
    ]
