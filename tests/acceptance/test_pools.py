"""Every pool of Celery's does what a workflow needs: sync and async steps, retries, waits, time limits, leases, rescues."""

from __future__ import annotations

import os
import signal

import flows
import pytest
from stage import eventually

LEASE = 2.0
POOLS = ["prefork", "threads", "solo", "gevent", "eventlet"]
SIDE_BY_SIDE = {"threads", "gevent", "eventlet"}
pytestmark = pytest.mark.only_on("redis", why="pools know of no broker")


@pytest.fixture
def stage(make_stage):
    return make_stage(lease=LEASE, dispatch_timeout=5.0)


def executions(stage, step):
    return [record for record in stage.executions() if record["step"] == step]


@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_does_what_a_workflow_needs(stage, pool):
    side_by_side = pool in SIDE_BY_SIDE
    stage.start_workers(1, pool=pool, concurrency=4 if side_by_side else 1)
    hephaestus = stage.hephaestus
    # One after the other: greenlets that run loops of their own at the same time get into each other's way in any task.
    for value in ("v1", "v2"):
        handle = hephaestus.start_instance(flows.Voyage, {"meet": side_by_side, "value": 1}, id=value)
        eventually(lambda handle=handle: handle.get().status == "waiting", what=f"{handle.id} waits")
        handle.resume("approved")
        instance = handle.wait(30)
        assert instance.status == "completed"
        results = instance.context.steps
        for key in ("left_meet", "right_meet"):
            assert results[key] == {"task": f"{handle.run_id}:{key}:1.1", "elsewhere": True}
        assert (results["meet_again"], results["nested"]) == ({"kept": "kept"}, {"inner": "nested"})
        outcomes = [entry.outcome for entry in handle.history() if entry.step == "nested"]
        assert outcomes == ["retrying", "retrying", "completed"]
        assert all(entry.kind != "rescue" for entry in handle.history())

    # A step that computes keeps its lease, and a step that dawdles is stopped when its time is over.
    computing = hephaestus.start_instance(flows.Computes, {"seconds": 2.5 * LEASE, "value": 1}, id="c1")
    assert computing.wait(30).status == "completed"
    assert [entry.kind for entry in computing.history()] == ["attempt", "attempt"]
    dawdling = hephaestus.start_instance(flows.Dawdles, {"value": 1}, id="d1")
    instance = dawdling.wait(30)
    assert (instance.status, instance.failure.kind) == ("failed", "exit")
    eventually(lambda: stage.notes("stopped"), what="the step that dawdles is cancelled")
    assert hephaestus.start_instance(flows.Linear, {"value": 1}, id="after").wait(30).status == "completed"


@pytest.mark.parametrize("pool", ["solo", "gevent", "eventlet"])
def test_a_failure_leads_on_and_a_counted_join_starts_once_in_a_pool(stage, pool):
    stage.start_workers(1, pool=pool, concurrency=4 if pool in SIDE_BY_SIDE else 1)
    handle = stage.hephaestus.start_instance(flows.Quorum, {"way": "raise"}, id="x1")
    instance = handle.wait(30)
    assert instance.status == "completed"
    assert {step.key for step in instance.completed_steps} == {"charge", "b", "c", "d", "refund", "done"}
    assert len(executions(stage, "d")) == len(executions(stage, "refund")) == 1
    eventually(lambda: stage.events("workflow.stop", run_id=handle.run_id), what="the end is told")
    events = stage.emitted(handle.run_id)
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    names = [(event["event"], event["metadata"].get("step")) for event in events]
    failed = [name for name in names if name[0] == "step.exception"]
    assert failed == [("step.exception", "charge")] * 2
    assert names.count(("step.stop", "d")) == names.count(("workflow.stop", None)) == 1
    targets = [
        (event["metadata"]["from_step"], event["metadata"]["event"], event["metadata"]["targets"])
        for event in events
        if event["event"] == "workflow.transition"
    ]
    assert ("charge", "@failed", ["refund"]) in targets
    assert [found for _, _, found in targets].count(["d"]) == 1


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_a_greenlet_that_a_counted_join_leaves_behind_learns_it(stage, pool):
    stage.start_workers(1, pool=pool, concurrency=4)
    handle = stage.hephaestus.start_instance(flows.Race, {}, id="x1")
    instance = handle.wait(30)
    assert {step.key for step in instance.completed_steps} == {"a", "quick", "c", "d", "done"}
    eventually(lambda: stage.notes("unwanted"), what="the loser has learned it")
    eventually(lambda: "discarded" in {entry.outcome for entry in handle.history()}, what="the loser has ended")


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_what_a_killed_worker_of_greenlets_had_is_done_by_another(stage, pool):
    stage.start_workers(2, pool=pool, concurrency=2)
    gate = {"gate": str(stage.folder / "gate")}
    handles = [stage.hephaestus.start_instance(flows.Gated, gate, id=f"x{number}") for number in range(3)]
    timed_out = stage.hephaestus.start_instance(flows.Overruns, {"gate": str(stage.folder / "none")}, id="o1").wait(30)
    assert (timed_out.status, timed_out.failure.kind) == ("failed", "exit")
    first = eventually(lambda: len(executions(stage, "gate")) == 3 and executions(stage, "gate")[0], what="executed")
    os.kill(first["pid"], signal.SIGKILL)
    (stage.folder / "gate").touch()
    assert [handle.wait(30).status for handle in handles] == ["completed"] * 3
    assert any(entry.kind == "rescue" for handle in handles for entry in handle.history())
    assert {record["pid"] for record in executions(stage, "b")} != {first["pid"]}
    (stage.folder / "none").touch()  # nobody could tell it to stop
