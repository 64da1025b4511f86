"""Runs that undo what has completed, from their declaration to what users see of them."""

from __future__ import annotations

import asyncio
import pickle
import secrets
import threading
from typing import TypedDict

import pytest

from hephaestus_celery import (
    FAILED,
    AlreadyRunningError,
    Async,
    DataError,
    Done,
    Hephaestus,
    NotCancellableError,
    NotWaitingError,
    Ok,
    RetryPolicy,
    RunStateError,
    Step,
    Unique,
    Workflow,
    telemetry,
)

ONCE = RetryPolicy(max_attempts=1)
SECONDS = 20


@pytest.fixture
def hephaestus():
    with Hephaestus() as runtime:
        yield runtime


class Flow:
    """A workflow of a -> b -> c, whose steps do what a test says, and where a and b can be undone."""

    def __init__(self, **answers):
        self.calls, self.keys, self.answers = [], {}, answers
        self.seen = {}
        names = ("a", "b", "c", "undo_a", "undo_b")
        self.a, self.b, self.c, self.undo_a, self.undo_b = (self.step(name) for name in names)
        self.workflow = self.define()

    def define(self):
        """The workflow of these steps, as they are now."""
        return type(
            "Trip",
            (Workflow,),
            {
                "name": f"trips.{secrets.token_hex(6)}",
                "unique": Unique("trip"),
                "initial_step": self.a,
                "transitions": {self.a: self.b, self.b: self.c, self.c: Done},
                "compensations": {self.a: self.undo_a, self.b: self.undo_b},
            },
        )

    def step(self, name):
        def execute(step, instance, config, context):
            self.calls.append(name)
            self.keys.setdefault(name, []).append(instance.idempotency_key(type(step)))
            self.seen[name] = dict(context.steps)
            answer = self.answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer(context) if callable(answer) else answer

        return type(name.title(), (Step,), {"key": name, "execute": execute, "retry": ONCE})


def test_a_run_that_fails_undoes_the_last_step_first_with_all_results(hephaestus):
    flow = Flow(a={"n": 1}, b={"n": 2}, c=ValueError("no"), undo_b={"back": 2})
    run = flow.workflow.start("1", {}).wait(SECONDS)
    assert flow.calls == ["a", "b", "c", "undo_b", "undo_a"]
    assert flow.seen["undo_a"] == {"a": {"n": 1}, "b": {"n": 2}, "undo_b": {"back": 2}}
    assert (run.status, run.failure.message, run.failed_step) == ("failed", "no", flow.c)
    assert (run.compensated, run.uncompensated, run.compensating) == ((flow.b, flow.a), (), False)
    assert run.completed_steps == {flow.a, flow.b}
    assert run.context.steps["undo_b"] == {"back": 2}
    assert run.active_steps == frozenset()


def test_a_run_that_completes_undoes_nothing(hephaestus):
    flow = Flow()
    run = flow.workflow.start("1", {}).wait(SECONDS)
    assert (run.status, run.compensated, run.uncompensated, run.compensating) == ("completed", (), (), False)
    assert flow.calls == ["a", "b", "c"]


def test_a_compensation_that_fails_is_noted(hephaestus):
    flow = Flow(c=ValueError("no"), undo_b=KeyError("gone"))
    handle = flow.workflow.start("1", {})
    run = handle.wait(SECONDS)
    assert (run.compensated, run.uncompensated) == ((flow.a,), (flow.b,))
    assert run.failure.message == "no"
    entries = {entry.step: entry for entry in handle.history()}
    assert (entries["undo_b"].outcome, entries["undo_b"].compensates) == ("failed", "b")
    assert (entries["undo_a"].outcome, entries["undo_a"].compensates) == ("completed", "a")
    assert entries["c"].compensates is None


def test_events_of_compensations_are_those_of_any_step(hephaestus):
    flow, seen = Flow(c=ValueError("no"), undo_b=KeyError("gone")), []
    for name in (*telemetry.events(), *telemetry.extension_events()):
        telemetry.attach(f"undo {name}", name, lambda name, _, metadata, __: seen.append((name[1:], metadata)))
    run = flow.workflow.start("1", {}).wait(SECONDS)
    ours = [(".".join(name), metadata) for name, metadata in seen if metadata.get("run_id") == run.run_id]
    for name in (*telemetry.events(), *telemetry.extension_events()):
        telemetry.detach(f"undo {name}")
    assert [metadata["sequence"] for _, metadata in ours] == list(range(1, len(ours) + 1))
    assert [name for name, _ in ours][-8:] == [
        "workflow.compensate",
        "step.start",
        "step.exception",
        "step.start",
        "step.stop",
        "workflow.transition",
        "engine.advance",
        "workflow.exception",
    ]
    about = dict(ours)
    assert (about["workflow.transition"]["from_step"], about["workflow.transition"]["targets"]) == (flow.undo_a, [])
    last = about["workflow.exception"]
    assert (last["step_count"], last["failed_step"], last["status"]) == (2, flow.c, "failed")
    assert "no" in str(last["reason"])


def waiting(flow, hephaestus):
    handle = flow.workflow.start("1", {})
    while handle.status != "waiting":
        threading.Event().wait(0.001)
    return handle


def test_a_cancelled_run_undoes_where_that_is_asked_for(hephaestus):
    flow = Flow(c=lambda context: Async())
    handle = waiting(flow, hephaestus)
    handle.cancel("enough", compensate=True)
    run = handle.wait(SECONDS)
    assert (run.status, run.cancel_reason, run.compensated) == ("cancelled", "enough", (flow.b, flow.a))
    assert run.failure is None
    assert flow.calls == ["a", "b", "c", "undo_b", "undo_a"]


def test_a_cancelled_run_undoes_nothing_else(hephaestus):
    flow = Flow(c=lambda context: Async())
    handle = waiting(flow, hephaestus)
    handle.cancel()
    run = handle.get()
    assert (run.status, run.compensated, run.uncompensated) == ("cancelled", (), ())


def test_a_compensation_that_waits_is_resumed_and_the_run_is_running(hephaestus):
    flow = Flow(c=ValueError("no"), undo_b=lambda context: Async())
    handle = flow.workflow.start("1", {})
    while not handle.get().waiting_steps:
        threading.Event().wait(0.001)
    run = handle.get()
    assert (run.status, run.compensating, run.compensated, run.uncompensated) == (
        "running",
        True,
        (),
        (flow.b, flow.a),
    )
    assert (run.failure.message, run.finished_at) == ("no", None)
    with pytest.raises(AlreadyRunningError):
        flow.workflow.start("1", {})
    with pytest.raises(RunStateError):
        hephaestus.fork(run.run_id, flow.b)
    with pytest.raises(AlreadyRunningError):
        flow.workflow.retry("1")
    with pytest.raises(RunStateError, match="undoes"):
        hephaestus.fork(run.run_id, flow.b, value="2")
    with pytest.raises(NotCancellableError, match="without compensate"):
        handle.cancel(compensate=True)
    handle.resume("ok", {"by": "ada"})
    run = handle.wait(SECONDS)
    assert (run.status, run.compensated) == ("failed", (flow.b, flow.a))
    assert run.context.steps["undo_b"] == {"by": "ada"}


def test_an_event_may_come_before_the_compensation_that_waits_for_it(hephaestus):
    flow = Flow(b=lambda context: Async(), c=ValueError("no"), undo_b=lambda context: Async())
    flow.undo_b.events = ("refunded",)
    handle = flow.define().start("1", {})
    while handle.status != "waiting":
        threading.Event().wait(0.001)
    handle.resume("refunded", {"by": "ada"}, keep_early=True)
    handle.resume("ok", step=flow.b)
    run = handle.wait(SECONDS)
    assert (run.status, run.compensated) == ("failed", (flow.b, flow.a))
    assert run.context.steps["undo_b"] == {"by": "ada"}


def test_a_run_that_undoes_keeps_no_event_for_a_step_that_can_not_begin(hephaestus):
    flow = Flow(c=lambda context: Async(), undo_a=lambda context: Async())
    flow.c.events, flow.undo_a.events = ("paid",), ("refunded",)
    handle = flow.define().start("1", {})
    while handle.status != "waiting":
        threading.Event().wait(0.001)
    handle.cancel(compensate=True)
    with pytest.raises(NotWaitingError, match="have ended"):
        handle.resume("paid", keep_early=True)
    handle.resume("refunded", keep_early=True)
    assert handle.wait(SECONDS).compensated == (flow.b, flow.a)


def test_what_comes_early_for_a_compensation_has_its_type(hephaestus):
    class Receipt(TypedDict):
        number: int

    class Refunded(Step[Receipt]):
        events = ("refunded",)

        def execute(self, instance, config, context):
            return Async()

    flow = Flow(a=lambda context: Async(), b=ValueError("no"))
    flow.undo_a = Refunded
    handle = flow.define().start("1", {})
    while handle.status != "waiting":
        threading.Event().wait(0.001)
    with pytest.raises(DataError, match="number"):
        handle.resume("refunded", {"number": "seven"}, keep_early=True)
    handle.resume("refunded", {"number": 7}, keep_early=True)
    handle.resume("ok", step=flow.a)
    assert handle.wait(SECONDS).context.result(Refunded) == {"number": 7}


def test_a_run_that_undoes_is_ended_at_once(hephaestus):
    flow = Flow(c=ValueError("no"), undo_a=lambda context: Async())
    handle = flow.workflow.start("1", {})
    while not handle.get().waiting_steps:
        threading.Event().wait(0.001)
    handle.cancel("now")
    run = handle.get()
    assert (run.status, run.failure.message, run.cancel_reason) == ("cancelled", "no", "now")
    assert (run.compensated, run.uncompensated) == ((flow.b,), (flow.a,))
    flow.workflow.start("1", {}).cancel()


def test_a_body_that_runs_asks_whether_it_is_wanted(hephaestus):
    begun, told = threading.Event(), []

    def long(context):
        begun.set()
        while not context.cancelled():
            threading.Event().wait(0.05)
        told.append(True)
        return {"late": True}

    flow = Flow(c=long, undo_b=lambda context: told.append(context.cancelled()))
    handle = flow.workflow.start("1", {})
    assert begun.wait(SECONDS)
    report = handle.cancel(compensate=True)
    assert report.executing == {"c"}
    run = handle.wait(SECONDS)
    assert told == [True, False]
    assert (run.status, run.compensated) == ("cancelled", (flow.b, flow.a))
    assert run.context.steps["c"] == {"late": True}
    assert [entry.outcome for entry in handle.history() if entry.step == "c"] == ["discarded"]
    assert run.completed_steps == {flow.a, flow.b, flow.c}


def test_a_retry_runs_again_what_was_undone_with_new_keys(hephaestus):
    flow = Flow(c=ValueError("no"))
    first = flow.workflow.start("1", {}).wait(SECONDS)
    flow.answers["c"] = None
    flow.calls.clear()
    second = flow.workflow.retry("1").wait(SECONDS)
    assert (second.status, second.forked_from) == ("completed", first.run_id)
    assert flow.calls == ["a", "b", "c"]
    assert [len(set(flow.keys[key])) for key in "abc"] == [2, 2, 2]


def test_a_retry_keeps_what_was_not_undone(hephaestus):
    flow = Flow(c=ValueError("no"), undo_b=lambda context: Async())
    handle = flow.workflow.start("1", {})
    while not handle.get().waiting_steps:
        threading.Event().wait(0.001)
    handle.cancel()
    flow.calls.clear()
    flow.answers["undo_b"] = None
    run = flow.workflow.retry("1").wait(SECONDS)
    assert flow.calls == ["b", "c", "undo_b", "undo_a"]
    assert run.compensated == (flow.b, flow.a)


def test_a_fork_that_would_keep_what_was_undone_is_refused(hephaestus):
    flow = Flow(c=ValueError("no"))
    run = flow.workflow.start("1", {}).wait(SECONDS)
    with pytest.raises(ValueError, match=r"would keep a, b|would keep a"):
        hephaestus.fork(run.run_id, flow.c)
    with pytest.raises(ValueError, match="undoes step b"):
        hephaestus.fork(run.run_id, flow.undo_b)
    flow.answers["c"] = None
    assert hephaestus.fork(run.run_id, flow.a).wait(SECONDS).status == "completed"


def test_a_failure_that_a_transition_takes_is_not_undone(hephaestus):
    flow = Flow(a=ValueError("first"), c=ValueError("no"))
    workflow = type(
        "Caught",
        (Workflow,),
        {
            "name": f"trips.{secrets.token_hex(6)}",
            "unique": Unique("trip"),
            "initial_step": flow.a,
            "transitions": {flow.a: flow.c, (flow.a, FAILED): flow.c, flow.c: Done},
            "compensations": {flow.a: flow.undo_a},
        },
    )
    run = workflow.start("1", {}).wait(SECONDS)
    assert (run.status, run.compensated, flow.calls) == ("failed", (), ["a", "c"])


def test_a_pause_holds_compensations(hephaestus):
    flow = Flow(c=lambda context: Async())
    handle = waiting(flow, hephaestus)
    flow.workflow.pause("1")
    handle.cancel(compensate=True)
    run = handle.get()
    assert (run.compensating, run.paused, flow.calls) == (True, True, ["a", "b", "c"])
    flow.workflow.unpause("1")
    assert handle.wait(SECONDS).compensated == (flow.b, flow.a)


def test_a_coroutine_cancels_with_compensations(hephaestus):
    flow = Flow(c=lambda context: Async())
    handle = waiting(flow, hephaestus)
    asyncio.run(flow.workflow.aio.cancel("1", compensate=True))
    assert handle.wait(SECONDS).compensated == (flow.b, flow.a)


def test_a_compensation_may_give_its_event_in_full_and_no_other(hephaestus):
    flow = Flow(c=ValueError("no"), undo_b=Ok("other"), undo_a=Ok("ok", {"n": 1}))
    run = flow.workflow.start("1", {}).wait(SECONDS)
    assert (run.compensated, run.uncompensated) == ((flow.a,), (flow.b,))


def test_a_listed_instance_says_whether_it_undoes(hephaestus):
    flow = Flow(c=ValueError("no"), undo_b=lambda context: Async())
    handle = flow.workflow.start("1", {})
    while not handle.get().waiting_steps:
        threading.Event().wait(0.001)
    [run] = flow.workflow.list()
    assert (run.status, run.compensating) == ("running", True)
    handle.cancel()
    [run] = flow.workflow.list()
    assert not run.compensating


def test_a_copy_of_an_instance_has_what_was_undone(hephaestus):
    flow = Flow(c=ValueError("no"))
    run = flow.workflow.start("1", {}).wait(SECONDS)
    copied = pickle.loads(pickle.dumps(run))
    assert copied.undone == (("b", "undo_b"), ("a", "undo_a"))
