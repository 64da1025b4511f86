"""Steps that fail for good where a transition takes that, on real workers, which are killed on the way."""

from __future__ import annotations

from collections import Counter

import flows
import pytest
from stage import eventually

from hephaestus_celery import FAILED, Failure


@pytest.fixture
def losing(make_stage):
    """A stage whose leases run out soon, since some of its processes die."""
    return make_stage(lease=5.0)


def executed(stage):
    return Counter(record["step"] for record in stage.executions())


def told(stage, handle):
    """What the workers have emitted of the run from its last attempt of the charge on."""
    events = stage.emitted(handle.run_id)
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    names = [event["event"] for event in events]
    last = len(names) - 1 - names[::-1].index("step.exception")
    return names[last : last + 4]


def history(handle):
    return [(entry.kind, entry.step, entry.attempt, entry.outcome, entry.event) for entry in handle.history()]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_transition_takes_the_failure_of_the_last_attempt(stage, pool):
    stage.start_workers(1, pool=pool)
    handle = stage.hephaestus.start_instance(flows.Refunds, {"way": "raise"}, id="x1")
    instance = handle.wait(60)
    assert (instance.status, instance.failed_step, instance.failure) == ("completed", None, None)
    assert instance.context.failure(flows.Charge) == Failure(kind="error", type="ValueError", message="declined")
    assert instance.context.steps["refund"] == {"kind": "error", "message": "declined"}
    assert executed(stage) == {"charge": 2, "refund": 1}
    assert told(stage, handle) == ["step.exception", "workflow.transition", "engine.advance", "step.start"]
    assert history(handle) == [
        ("attempt", "charge", 1, "retrying", None),
        ("attempt", "charge", 2, "failed", FAILED),
        ("attempt", "refund", 1, "completed", "done"),
        ("attempt", "done", 1, "completed", "done"),
    ]


def test_a_process_killed_between_the_last_failed_attempt_and_its_commit_costs_nothing_else(losing):
    stage = losing
    stage.switches["HEPHAESTUS_TEST_CUT"] = "complete:1"
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Refunds, {"way": "raise"}, id="x1")
    instance = handle.wait(60)
    assert (stage.folder / "cut").exists()
    assert (instance.status, instance.context.failure(flows.Charge).kind) == ("completed", "exit")
    assert executed(stage) == {"charge": 2, "refund": 1}
    assert told(stage, handle) == ["step.exception", "workflow.transition", "engine.advance", "step.start"]
    assert history(handle)[1:3] == [
        ("rescue", "charge", 2, None, None),
        ("attempt", "charge", 2, "failed", FAILED),
    ]


def test_a_step_that_ends_its_process_each_time_is_taken(losing):
    stage = losing
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Refunds, {"way": "die"}, id="x1")
    instance = handle.wait(60)
    assert (instance.status, instance.context.steps["refund"]["kind"]) == ("completed", "exit")
    assert executed(stage) == {"charge": 2, "refund": 1}


def test_a_lease_that_expires_on_the_last_attempt_is_taken_by_another_worker(losing):
    stage = losing
    [victim] = stage.start_workers(1)
    context = {"way": "gate", "gate": str(stage.folder / "gate")}
    handle = stage.hephaestus.start_instance(flows.RefundsOnce, context, id="x1")
    eventually(stage.executions, what="the step is executed")
    victim.kill()
    stage.start_workers(1)
    instance = handle.wait(60)
    assert (instance.status, instance.context.steps["refund"]["kind"]) == ("completed", "exit")
    assert executed(stage) == {"charge_once": 1, "refund": 1}
    assert history(handle)[:2] == [
        ("rescue", "charge_once", 1, None, None),
        ("attempt", "charge_once", 1, "failed", FAILED),
    ]


@pytest.mark.parametrize("way", ["raise", "die"])
def test_a_route_of_a_failure_is_asked_in_a_pool_process(make_stage, way):
    stage = make_stage() if way == "raise" else make_stage(lease=5.0)
    [worker] = stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.RefundsByRoute, {"way": way}, id="x1")
    instance = handle.wait(60)
    assert (instance.status, instance.context.steps["refund"]["kind"]) == (
        "completed",
        {"raise": "error", "die": "exit"}[way],
    )
    assert executed(stage) == {"charge": 2, "refund": 1}
    [asked] = stage.notes("routed")
    assert asked["pid"] != worker.process.pid


def test_a_retry_and_a_fork_keep_a_failure_that_was_taken(stage):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.RefundsAndFails, {"way": "raise"}, id="x1")
    assert handle.wait(60).failed_step is flows.FailsAfterRefund
    again = handle.retry()
    instance = again.wait(60)
    assert (instance.failed_step, instance.context.failure(flows.Charge).message) == (
        flows.FailsAfterRefund,
        "declined",
    )
    fork = stage.hephaestus.fork(again.run_id, flows.Refund, value="x2")
    assert fork.wait(60).context.failure(flows.Charge).message == "declined"
    assert executed(stage) == {"charge": 2, "refund": 2, "fails_after_refund": 3}
