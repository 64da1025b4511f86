"""Deadlines on the local runner: what users and handlers see of a run that has not ended in time."""

from __future__ import annotations

import secrets
from datetime import UTC, timedelta

import pytest
from defining import A, a_step, define
from stage import eventually

from hephaestus_celery import (
    FAILED,
    Async,
    Done,
    Error,
    Hephaestus,
    NotWaitingError,
    Ok,
    RetryPolicy,
    Step,
    telemetry,
)
from hephaestus_celery.core.execution.due_items import Deadline
from hephaestus_celery.exceptions import DeadlineExceeded
from hephaestus_celery.testing import EventCapture

SOON = timedelta(milliseconds=50)
AFTER_A = timedelta(seconds=1)
"""Time enough to complete a step before it, also on a busy machine."""
LATER = timedelta(hours=1)


class Lingers(Step):
    """Goes on until its run wants it no longer."""

    events = ("ok",)

    def execute(self, instance, config, context):
        eventually(context.cancelled, what="the body learns that it is wanted no longer")
        return Ok("ok", {"late": True})


class Sleeps(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        return Async()


class FailsOften(Step):
    events = ("ok",)
    retry = RetryPolicy(max_attempts=5, backoff="constant", base=3600)

    def execute(self, instance, config, context):
        return Error("not yet")


def a_flow(*steps, deadline=SOON, **more):
    """A chain of these steps."""
    following = [*steps[1:], Done]
    ways = {(step, "ok"): after for step, after in zip(steps, following, strict=True)}
    return define(
        name=f"timely.{secrets.token_hex(6)}", initial_step=steps[0], transitions={**ways, **more}, deadline=deadline
    )


@pytest.fixture
def runtime():
    with Hephaestus() as runtime:
        yield runtime


def failed(handle):
    """The run, which has failed for its deadline."""
    instance = handle.wait(20)
    assert (instance.status, instance.failed_step) == ("failed", None)
    assert (instance.failure.kind, instance.failure.type) == ("exit", "DeadlineExceeded")
    return instance


def test_a_run_that_waits_fails_at_its_deadline_for_good(runtime):
    handle = runtime.start_instance(a_flow(Sleeps), {}, id="x1")
    instance = failed(handle)
    assert instance.finished_at >= instance.deadline
    assert (instance.waiting_steps, instance.active_steps) == (frozenset(), frozenset())
    with pytest.raises(NotWaitingError):
        handle.resume("ok")


def test_the_failure_says_how_long_the_run_had_and_since_when(runtime):
    instance = failed(runtime.start_instance(a_flow(Sleeps), {}, id="x1"))
    began = f"{instance.started_at:%Y-%m-%d %H:%M:%S} UTC"
    assert instance.failure.message == f"the run has not ended within 0.05 s of its start, {began}"
    assert instance.failure.stacktrace is None


def test_a_run_that_backs_off_fails_at_its_deadline(runtime):
    assert failed(runtime.start_instance(a_flow(FailsOften), {}, id="x1"))


def test_a_body_learns_of_the_deadline_and_what_it_gives_is_discarded(runtime):
    handle = runtime.start_instance(a_flow(Lingers, A), {}, id="x1")
    failed(handle)
    eventually(lambda: len(handle.history()) == 2, what="the body has ended")
    timer, attempt = handle.history()
    assert (timer.kind, timer.step, timer.outcome, timer.attempt, timer.event) == (
        "timer",
        None,
        "completed",
        None,
        None,
    )
    assert timer.reason == "DeadlineExceeded: the run has not ended within 0.05 s of its start"
    assert (timer.started_at, timer.finished_at) == (handle.get().started_at, handle.get().finished_at)
    assert (attempt.step, attempt.outcome) == ("lingers", "discarded")
    assert dict(handle.get().context.steps) == {}


def test_a_paused_run_fails_at_its_deadline(runtime):
    handle = runtime.start_instance(a_flow(Sleeps, deadline=timedelta(milliseconds=300)), {}, id="x1")
    handle.pause()
    assert failed(handle)


def test_a_run_of_a_paused_workflow_fails_before_it_has_begun(runtime):
    flow = a_flow(A)
    runtime.pause_workflow(flow)
    with EventCapture() as told:
        handle = runtime.start_instance(flow, {}, id="x1")
        failed(handle)
        eventually(lambda: told.events, what="the failure is told")
    assert [name[1:] for name in told.names()] == [("workflow", "exception")]


def test_no_failure_edge_takes_a_deadline(runtime):
    mend = a_step("Mend", "ok")
    flow = define(
        name=f"timely.{secrets.token_hex(6)}",
        initial_step=Sleeps,
        transitions={(Sleeps, "ok"): Done, (Sleeps, FAILED): mend, (mend, "ok"): Done},
        deadline=SOON,
    )
    assert failed(runtime.start_instance(flow, {}, id="x1")).completed_steps == frozenset()


def test_the_failure_is_told_once_after_the_steps_that_came_before(runtime):
    with EventCapture() as told:
        handle = runtime.start_instance(a_flow(A, Sleeps, deadline=AFTER_A), {"items": 1}, id="x1")
        instance = failed(handle)
        eventually(lambda: told.of(telemetry.workflow_exception_event()), what="the failure is told")
    [event] = told.of(telemetry.workflow_exception_event())
    assert told.events[-1] is event
    found = event.metadata
    assert (found["kind"], found["failed_step"], found["stacktrace"], found["status"]) == ("exit", None, None, "failed")
    assert isinstance(found["reason"], DeadlineExceeded)
    assert str(found["reason"]) == instance.failure.message
    assert (found["instance_id"], found["run_id"], found["workflow"]) == (handle.id, handle.run_id, instance.workflow)
    assert (found["step_count"], found["advance_count"]) == (1, 2)
    lasted = (instance.finished_at - instance.started_at) // timedelta(microseconds=1)
    assert event.measurements["duration"] == lasted * 1000
    numbers = [one.metadata["sequence"] for one in told.events if "sequence" in one.metadata]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_the_failure_is_told_alike_after_what_has_completed_is_undone(runtime):
    class Undo(Step):
        def execute(self, instance, config, context):
            return {}

    flow = define(
        name=f"timely.{secrets.token_hex(6)}",
        initial_step=A,
        transitions={(A, "ok"): Sleeps, Sleeps: Done},
        deadline=AFTER_A,
        compensations={A: Undo},
    )
    with EventCapture() as told:
        instance = failed(runtime.start_instance(flow, {"items": 1}, id="x1"))
        eventually(lambda: told.of(telemetry.workflow_exception_event()), what="the failure is told")
    assert instance.compensated == (A,)
    [event] = told.of(telemetry.workflow_exception_event())
    found = event.metadata
    assert (found["kind"], found["failed_step"], found["stacktrace"]) == ("exit", None, None)
    assert isinstance(found["reason"], DeadlineExceeded)
    assert str(found["reason"]) == instance.failure.message


def test_a_run_says_when_its_deadline_is(runtime):
    flow = a_flow(Sleeps, deadline=LATER)
    handle = runtime.start_instance(flow, {}, id="x1")
    instance = handle.get()
    assert instance.deadline == instance.started_at + LATER
    assert instance.deadline.tzinfo is UTC
    assert [listed.deadline for listed in runtime.list()] == [instance.deadline]
    assert runtime.start_instance(a_flow(Sleeps, deadline=None), {}, id="x2").get().deadline is None


def test_a_step_sees_the_deadline_of_its_run(runtime):
    seen = []

    def execute(self, instance, config, context):
        seen.append(instance.deadline)

    handle = runtime.start_instance(a_flow(a_step("Looks", "ok", execute=execute), deadline=LATER), {}, id="x1")
    assert seen == [handle.wait(20).deadline]


def test_a_run_that_ends_in_time_leaves_nothing_behind(runtime):
    handle = runtime.start_instance(a_flow(A, deadline=LATER), {}, id="x1")
    assert handle.wait(20).status == "completed"
    with runtime.storage.transaction() as transaction:
        assert transaction.due_at(handle.run_id, Deadline()) is None


def test_a_change_of_the_deadline_changes_no_run(runtime):
    flow = a_flow(Sleeps, deadline=LATER)
    handle = runtime.start_instance(flow, {}, id="x1")
    before = handle.get().deadline
    flow.deadline = timedelta(days=9)
    assert handle.get().deadline == before


def test_a_retry_and_a_fork_have_the_deadline_of_today_from_their_own_start(runtime):
    flow = a_flow(Sleeps)
    first = runtime.start_instance(flow, {}, id="x1")
    failed(first)
    flow.deadline = LATER
    retried = first.retry()
    forked = runtime.fork(first.run_id, Sleeps, value="x2")
    for handle in (retried, forked):
        instance = handle.get()
        assert (instance.status, instance.deadline) != ("failed", None)
        assert instance.deadline == instance.started_at + LATER
    assert first.get().deadline == first.get().started_at + SOON


def test_many_starts_have_their_deadlines(runtime):
    flow = a_flow(Sleeps, deadline=LATER)
    handles = runtime.start_many(flow, [(f"x{number}", {}) for number in range(3)])
    assert [handle.get().deadline - handle.get().started_at for handle in handles] == [LATER] * 3
