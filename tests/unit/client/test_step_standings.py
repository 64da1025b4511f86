"""`instance.step(Charge)`: how one step of a run stands, on threads and on event loops."""

from __future__ import annotations

import asyncio
import copy
import pickle
from datetime import UTC, timedelta

import pytest
from defining import A, B, a_step, define
from stage import eventually

from hephaestus_celery import (
    Async,
    DefinitionError,
    Done,
    Error,
    Hephaestus,
    Ok,
    RetryPolicy,
    Status,
    Step,
    Unique,
    Wait,
    WaitForEvent,
    Workflow,
)
from hephaestus_celery.core.values.lifecycle import StepStatus

LATER = timedelta(hours=1)


class Charged(Step):
    events = ("charged", "declined")
    retry = RetryPolicy(max_attempts=7, backoff="constant", base=3600)

    def execute(self, instance, config, context):
        if context.initial.get("fails"):
            return Error("no")
        return Async() if context.initial.get("waits") else Ok("charged")


AGAIN = Charged.named("charged_again")
STRANGE = Charged.named("strange")
COOLING = (Wait, {"duration": LATER})


class Standings(Workflow):
    name = "unit.standings"
    unique = Unique("standings")
    initial_step = A
    transitions = {
        (A, "ok"): Charged,
        (Charged, "charged"): AGAIN,
        (Charged, "declined"): B,
        (AGAIN, "charged"): COOLING,
        (AGAIN, "declined"): B,
        (Wait, "timeout"): B,
        (B, "ok"): Done,
    }


@pytest.fixture
def runtime():
    with Hephaestus() as runtime:
        yield runtime


def run(runtime, status, **context):
    """A run once it has this status, and the step of the workflow that it stands at."""
    handle = runtime.start_instance(Standings, context, id="x1")
    eventually(lambda: handle.get().status == status, what=f"it is {status}")
    return handle


def test_a_completed_step_has_its_event_and_times(runtime):
    instance = run(runtime, "waiting").get()
    found = instance.step(Charged)
    assert (found.status, found.event, found.attempt, found.max_attempts, found.round) == (
        StepStatus.COMPLETED,
        "charged",
        1,
        7,
        1,
    )
    assert instance.started_at <= found.queued_at <= found.started_at <= found.finished_at
    assert found.finished_at.tzinfo is UTC
    assert (found.waiting_since, found.due_at, found.accepts, found.worker) == (None, None, None, None)


def test_a_waiting_step_says_for_what_and_until_when(runtime):
    instance = run(runtime, "waiting").get()
    found = instance.step(Wait)
    assert (found.status, found.event, found.finished_at) == (StepStatus.WAITING, None, None)
    assert found.accepts == ("timeout",)
    assert abs(found.due_at - found.waiting_since - LATER) < timedelta(seconds=1)
    assert found.queued_at <= found.started_at <= found.waiting_since


def test_a_step_that_waits_for_ever_has_the_events_that_a_resume_may_bring(runtime):
    found = run(runtime, "waiting", waits=True).get().step(Charged)
    assert (found.accepts, found.due_at) == (("charged", "declined"), None)


def test_a_step_that_backs_off_says_when_its_next_attempt_is_due(runtime):
    handle = run(runtime, "running", fails=True)
    eventually(lambda: handle.get().step(Charged).attempt == 2, what="it backs off")
    found = handle.get().step(Charged)
    assert (found.status, found.queued_at, found.started_at, found.waiting_since) == (
        StepStatus.ACTIVE,
        None,
        None,
        None,
    )
    assert found.due_at > handle.get().started_at + timedelta(seconds=10)


def test_a_step_that_was_not_reached_has_nothing(runtime):
    found = run(runtime, "waiting").get().step(B)
    assert {name for name in vars(found) if getattr(found, name) is not None} == set()
    assert (found.status, found.attempt, found.due_at) == (None, None, None)


def test_a_step_is_found_by_its_named_class(runtime):
    instance = run(runtime, "waiting").get()
    assert instance.step(AGAIN).status is StepStatus.COMPLETED
    assert instance.step(AGAIN).queued_at >= instance.step(Charged).finished_at


@pytest.mark.parametrize("odd", [STRANGE, WaitForEvent, Charged(), "charged", None, int])
def test_what_is_no_step_of_the_workflow_is_refused_with_the_steps_that_it_has(runtime, odd):
    instance = run(runtime, "waiting").get()
    with pytest.raises(
        ValueError,
        match=r"is no step of Standings, which has A, Charged, Charged\.named\('charged_again'\), B, Wait, Done",
    ):
        instance.step(odd)


def test_the_key_of_a_step_is_answered_with_what_to_give(runtime):
    instance = run(runtime, "waiting").get()
    with pytest.raises(ValueError, match=r"Wait, Done; give the class of the step, not its key$"):
        instance.step("charged")


def test_the_end_has_a_standing_too(runtime):
    flow = define(name="unit.ends", initial_step=A, transitions={(A, "ok"): Done})
    instance = runtime.start_instance(flow, {}, id="x1").wait(20)
    found = instance.step(Done)
    assert (found.status, found.event) == (StepStatus.COMPLETED, "done")
    assert found.finished_at == instance.finished_at


def test_in_a_run_that_has_ended_nothing_stands_open(runtime):
    handle = run(runtime, "waiting")
    handle.cancel()
    found = handle.get().step(Wait)
    assert (found.status, found.due_at, found.accepts, found.waiting_since) == (None, None, None, None)


def test_a_step_that_failed_the_run_ended_with_it(runtime):
    once = type("Once", (Charged,), {"key": "once", "retry": RetryPolicy(max_attempts=1)})
    flow = define(name="unit.fails", initial_step=once, transitions={(once, "charged"): Done, (once, "declined"): Done})
    instance = runtime.start_instance(flow, {"fails": True}, id="x1").wait(20)
    found = instance.step(once)
    assert (found.status, found.attempt, found.finished_at) == (StepStatus.FAILED, 1, instance.finished_at)


def test_a_step_whose_failure_was_followed_by_undoing_ended_before_its_run(runtime):
    fails = a_step("FailsLate", "ok", execute=lambda self, instance, config, context: Error("no", retry=False))
    waits = a_step("UndoesLate", "ok", execute=lambda self, instance, config, context: Async())
    flow = define(
        name="unit.undoes_late",
        initial_step=A,
        transitions={A: fails, fails: B, B: Done},
        compensations={A: waits},
    )
    handle = runtime.start_instance(flow, {}, id="x1")
    eventually(lambda: handle.get().waiting_steps, what="the compensation waits")
    [at] = [entry.finished_at for entry in handle.history() if entry.step == "fails_late"]
    assert handle.get().step(fails).finished_at == at
    assert handle.get().finished_at is None
    handle.resume("ok")
    ended = handle.wait(20)
    assert ended.step(fails).finished_at == at < ended.finished_at
    assert pickle.loads(pickle.dumps(ended)).step(fails).finished_at is None  # a copy reads nothing


def test_a_compensation_that_failed_ended_when_it_did(runtime):
    fails = a_step("FailsToUndo", "ok", execute=lambda self, instance, config, context: Error("no", retry=False))
    breaks = a_step("Breaks", "ok", execute=lambda self, instance, config, context: Error("no", retry=False))
    undoes = a_step("UndoesA", "ok", execute=lambda self, instance, config, context: {})
    flow = define(
        name="unit.undoes_badly",
        initial_step=A,
        transitions={A: B, B: breaks, breaks: Done},
        compensations={A: undoes, B: fails},
    )
    handle = runtime.start_instance(flow, {}, id="x1")
    ended = handle.wait(20)
    for step in (breaks, fails):
        [at] = [entry.finished_at for entry in handle.history() if entry.step == step.key]
        assert ended.step(step).finished_at == at
    assert asyncio.run(runtime.aio.get(handle.run_id)).step(fails).finished_at == ended.step(fails).finished_at


def test_a_copy_keeps_what_the_state_says(runtime):
    instance = run(runtime, "waiting").get()
    for other in (copy.deepcopy(instance), pickle.loads(pickle.dumps(instance))):
        found = other.step(Charged) if other.definition else None
        assert found is None or (found.status, found.event) == (StepStatus.COMPLETED, "charged")


def test_a_run_of_a_workflow_that_is_gone_says_so(runtime):
    instance = run(runtime, "waiting").get().apart(definition=None)
    with pytest.raises(DefinitionError, match=r"unit\.standings"):
        instance.step(A)


def test_a_step_sees_its_own_lease(runtime):
    seen = []

    def execute(self, instance, config, context):
        seen.append(instance.step(looks))
        seen.append((instance.step(looks).due_at, instance.status))

    looks = type("Looks", (Step,), {"execute": execute})
    flow = define(name="unit.looks", initial_step=looks, transitions={(looks, "ok"): Done})
    assert runtime.start_instance(flow, {}, id="x1").wait(20).status == "completed"
    found, (due_at, status) = seen
    assert (found.status, found.attempt, status) == (StepStatus.ACTIVE, 1, Status.RUNNING)
    assert due_at > found.started_at
