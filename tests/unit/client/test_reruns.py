"""Retries and forks on the local runner: what a user calls, and what comes back."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from stage import eventually

from hephaestus_celery import (
    AlreadyRunningError,
    Async,
    DataError,
    DefinitionError,
    Done,
    Error,
    Hephaestus,
    InstanceNotFoundError,
    MemoryStorage,
    Ok,
    RetryPolicy,
    RunStateError,
    Status,
    Step,
    Unique,
    Workflow,
    route,
)
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.testing import EventCapture

ONCE = RetryPolicy(max_attempts=1)
LOCK = threading.Lock()
RAN: list[tuple[str, str]] = []
"""Each body that ran: its step and idempotency key."""
BROKEN: set[str] = set()


class Noted(Step):
    events = ("ok",)
    retry = ONCE

    def execute(self, instance, config, context):
        with LOCK:
            RAN.append((self.key, instance.idempotency_key(type(self))))
        if self.key in BROKEN:
            return Error("broken")
        return Ok("ok", {"of": self.key, "items": context.initial.get("items")}, {self.key: True})


A, B, C, JOIN, LAST = (Noted.named(key) for key in ("a", "b", "c", "join", "last"))


class Diamond(Workflow):
    unique = Unique("diamond")
    initial_step = A
    transitions = {(A, "ok"): [B, C], (B, "ok"): JOIN, (C, "ok"): JOIN, (JOIN, "ok"): LAST, (LAST, "ok"): Done}


class Waits(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        with LOCK:
            RAN.append((self.key, instance.idempotency_key(type(self))))
        return Async()


WAIT, AFTER = Waits.named("wait"), Waits.named("after")


class Waiting(Workflow):
    unique = Unique("waiting")
    initial_step = A
    transitions = {(A, "ok"): WAIT, (WAIT, "ok"): AFTER, (AFTER, "ok"): Done}


@pytest.fixture(autouse=True)
def fresh():
    RAN.clear()
    BROKEN.clear()


@pytest.fixture
def runtime():
    with Hephaestus(storage=MemoryStorage()) as opened:
        yield opened


def ran():
    return Counter(key for key, _ in RAN)


def failed(value="a1", *, at="join", **context):
    BROKEN.add(at)
    handle = Diamond.start(value, context)
    assert handle.wait(10).status is Status.FAILED
    BROKEN.clear()
    return handle


def test_a_retry_runs_only_what_had_not_completed(runtime):
    first = failed(items=3)
    again = Diamond.retry("a1")
    found = again.wait(10)
    assert (found.status, found.forked_from, first.get().retried_as) == ("completed", first.run_id, again.run_id)
    assert ran() == {"a": 1, "b": 1, "c": 1, "join": 2, "last": 1}
    assert found.context.steps["b"] == {"of": "b", "items": 3}
    assert found.runtime_metadata == dict.fromkeys(["a", "b", "c", "join", "last"], True)
    assert next(iter(found.context.steps)) == "a"
    assert list(found.context.steps)[-3:] == ["join", "last", "done"]
    assert (again.id, again.run_id == first.run_id) == (first.id, False)


def test_what_runs_again_has_the_key_of_the_first_run(runtime):
    first = failed()
    BROKEN.add("join")
    second = first.retry()
    second.wait(10)
    BROKEN.clear()
    second.retry().wait(10)
    keys = [key for step, key in RAN if step == "join"]
    assert keys == [f"{first.run_id}:join"] * 3


def test_a_handle_retries_its_run(runtime):
    assert failed().retry().wait(10).status is Status.COMPLETED


def test_the_history_begins_with_a_fork(runtime):
    first = failed()
    again = first.retry(by="ada")
    again.wait(10)
    [begin, *attempts] = again.history()
    assert (begin.kind, begin.run_id, begin.by, begin.sequence) == ("fork", first.run_id, "ada", 1)
    assert [entry.step for entry in attempts] == ["join", "last", "done"]


def test_events_tell_where_the_run_comes_from(runtime):
    first = failed()
    with EventCapture() as captured:
        again = first.retry()
        again.wait(10)
    of_run = [event for event in captured.events if event.metadata.get("run_id") == again.run_id]
    assert {event.metadata["forked_from"] for event in of_run} == {first.run_id}
    assert [event.metadata["sequence"] for event in of_run] == list(range(1, len(of_run) + 1))
    assert [event.event[-1] for event in of_run[:3]] == ["fork", "start", "advance"]
    assert of_run[-1].measurements["step_count"] == 6


def test_context_is_laid_over_the_initial_one(runtime):
    first = failed(items=3, color="red")
    found = first.retry(context={"items": 4}).wait(10)
    assert found.context.initial == {"items": 4, "color": "red"}
    assert found.context.steps["join"]["items"] == 4
    assert found.context.steps["b"]["items"] == 3
    assert first.get().context.initial == {"items": 3, "color": "red"}


@pytest.mark.parametrize("context", [{"a": object()}, {"text": "x" * 2_000_000}, {1: 2}, [1]])
def test_a_context_that_cant_be_carried_is_refused_and_nothing_is_stored(runtime, context):
    first = failed()
    with pytest.raises(DataError, match="context"):
        first.retry(context=context)
    assert first.get().retried_as is None


@pytest.mark.parametrize("by", ["", "x" * 300, 7, "a\nb"])
def test_who_does_it_is_a_short_text(runtime, by):
    with pytest.raises(DataError, match="by must be"):
        failed().retry(by=by)


def test_a_run_is_retried_once(runtime):
    first = failed()
    BROKEN.add("join")
    second = first.retry()
    second.wait(10)
    BROKEN.clear()
    with pytest.raises(RunStateError, match=second.run_id):
        first.retry()
    assert second.retry().wait(10).status is Status.COMPLETED


def test_while_the_retry_is_active_the_id_is_taken(runtime):
    handle = Waiting.start("w1")
    handle.cancel()
    second = handle.retry()
    with pytest.raises(AlreadyRunningError, match=second.run_id):
        handle.retry()
    with pytest.raises(AlreadyRunningError, match=second.run_id):
        second.retry()
    second.cancel()


def test_a_completed_run_is_not_retried(runtime):
    handle = Diamond.start("a1")
    handle.wait(10)
    with pytest.raises(RunStateError, match="has completed"):
        Diamond.retry("a1")


def test_an_unknown_run_is_not_retried(runtime):
    with pytest.raises(InstanceNotFoundError):
        Diamond.retry("never")


def waits_at(handle, step, runtime):

    eventually(lambda: {found.key for found in handle.get().waiting_steps} == {step})


def test_a_cancelled_run_that_waited_waits_again(runtime):
    first = Waiting.start("w1")
    waits_at(first, "wait", runtime)
    first.resume("ok", {"n": 1}, step="after", keep_early=True, key="evt_1")
    first.cancel()
    again = first.retry()
    waits_at(again, "wait", runtime)
    again.resume("ok", {"n": 1}, step="after", key="evt_1")  # it has that one already
    again.resume("ok", {"n": 2}, step="wait")
    found = again.wait(10)
    assert (found.context.steps["wait"], found.context.steps["after"]) == ({"n": 2}, {"n": 1})
    assert ran() == {"a": 1, "wait": 2, "after": 1}


def test_listings_leave_mended_runs_out(runtime):
    first = failed()
    again = first.retry()
    again.wait(10)
    assert [found.run_id for found in Diamond.list(retried=False)] == [again.run_id]
    assert [found.run_id for found in runtime.list(retried=True)] == [first.run_id]
    [listed] = Diamond.list(retried=True)
    assert (listed.retried_as, runtime.get(listed.run_id).forked_from) == (again.run_id, None)
    [other] = Diamond.list(retried=False)
    assert runtime.get(other.run_id).forked_from == first.run_id
    with pytest.raises(ValueError, match="retried must be True or False"):
        runtime.list(retried="yes")


def test_a_fork_runs_a_step_and_what_follows(runtime):
    first = Diamond.start("a1")
    first.wait(10)
    RAN.clear()
    again = Diamond.fork("a1", B, by="ada")
    found = again.wait(10)
    assert ran() == {"b": 1, "join": 1, "last": 1}
    assert {key for _, key in RAN} == {f"{again.run_id}:{step}" for step in ("b", "join", "last")}
    assert (found.forked_from, first.get().retried_as) == (first.run_id, None)
    assert again.history()[0].by == "ada"


def test_a_fork_may_have_another_value(runtime):
    first = Waiting.start("w1")
    waits_at(first, "wait", runtime)
    with pytest.raises(AlreadyRunningError, match="w1"):
        Waiting.fork("w1", A)
    again = Waiting.fork("w1", "wait", value="w2")
    assert again.id == "waiting::w2"
    waits_at(again, "wait", runtime)
    for handle in (first, again):
        handle.cancel()
    whole = runtime.fork("waiting::w1", WAIT, value="waiting::w3")
    assert whole.id == "waiting::w3"
    whole.cancel()


@pytest.mark.parametrize("step", ["last", "never", LAST])
def test_a_step_that_was_not_started_is_refused(runtime, step):
    first = failed()
    with pytest.raises(ValueError, match="has never started step"):
        runtime.fork(first.run_id, step)


def test_done_alone_may_be_left(runtime):
    Diamond.start("a1").wait(10)
    RAN.clear()
    assert Diamond.fork("a1", Done).wait(10).status is Status.COMPLETED
    assert RAN == []


class Free(Workflow):
    unique = Unique("free", scope="none")
    initial_step = A
    transitions = {(A, "ok"): B, (B, "ok"): Done}


def test_a_run_of_scope_none_is_retried_under_its_id(runtime):
    BROKEN.add("b")
    first = Free.start("x")
    first.wait(10)
    BROKEN.clear()
    again = first.retry()
    assert (again.id, again.wait(10).status) == (first.id, "completed")
    with pytest.raises(RunStateError, match=again.run_id):
        first.retry()
    other = runtime.fork(first.run_id, A, value="x")
    assert other.id.startswith("free::x::")
    assert other.id != first.id
    other.wait(10)


CHOICE = Noted.named("choice")
ASKED: list[object] = []


class Routed1(Workflow):
    version = 1
    initial_step = CHOICE
    transitions = {(B, "ok"): LAST, (C, "ok"): LAST, (LAST, "ok"): Done}

    @route(CHOICE, "ok", targets=[B, C])
    @staticmethod
    def choose(context):
        ASKED.append(dict(context.steps))
        return B


class Routed2(Workflow):
    version = 2
    initial_step = CHOICE
    transitions = {(B, "ok"): LAST, (C, "ok"): JOIN, (JOIN, "ok"): LAST, (LAST, "ok"): Done}

    @route(CHOICE, "ok", targets=[(B, {"n": 2}), (C, {"n": 3})])
    @staticmethod
    def choose(context):
        ASKED.append(dict(context.steps))
        if context.initial.get("raises"):
            raise LookupError("no such thing")
        return [B, C]


class Routed3(Workflow):
    version = 3
    initial_step = A
    transitions = {(A, "ok"): LAST, (LAST, "ok"): Done}


class Routed(Workflow):
    unique = Unique("routed")
    versions = {1: Routed1, 2: Routed2, 3: Routed3}
    current = 1


@pytest.fixture
def routed(runtime):
    ASKED.clear()
    BROKEN.add("last")
    handle = Routed.start("r1", {"items": 1})
    handle.wait(10)
    BROKEN.clear()
    RAN.clear()
    return handle


def test_a_computed_route_stays_taken(routed):
    assert len(ASKED) == 1
    found = Routed.retry("r1").wait(10)
    assert (found.status, ran(), len(ASKED)) == ("completed", {"last": 1}, 1)
    assert {step.key for step in found.skipped_steps} == {"c"}


def test_a_fork_onto_another_version_asks_routes_anew(routed):
    again = Routed.fork("r1", LAST, version=2)
    found = again.wait(10)
    assert (found.status, found.workflow_version) == ("completed", 2)
    assert ran() == {"c": 1, "join": 1, "last": 1}
    assert ASKED[1]["choice"] == {"of": "choice", "items": 1}
    assert found.step_configs[C] == {"n": 3}


def test_a_version_that_lacks_what_is_kept_is_refused(routed):
    with pytest.raises(ValueError, match="step b, step choice") as refused:
        Routed.fork("r1", LAST, version=3)
    assert "version 3" in str(refused.value)
    with pytest.raises(ValueError, match=r"no version 9; known: 1, 2, 3"):
        Routed.fork("r1", LAST, version=9)


def test_an_error_of_a_route_is_the_callers(routed):
    with pytest.raises(LookupError, match="no such thing"):
        Routed.fork("r1", LAST, version=2, context={"raises": True})
    assert len(list(Routed.list())) == 1


def test_a_workflow_that_is_not_known_here_is_refused(runtime):
    first = failed()
    WORKFLOWS.discard(Diamond)
    try:
        with pytest.raises(DefinitionError, match="not defined in this process"):
            runtime.retry(first.run_id)
        with pytest.raises(DefinitionError, match="not defined in this process"):
            runtime.fork(first.run_id, "a")
    finally:
        WORKFLOWS.add(Diamond)


def test_data_of_the_earlier_run_is_left_alone(runtime):
    first = failed()
    before = first.get()
    first.retry().wait(10)
    after = first.get()
    assert (after.status, after.context.steps, after.finished_at) == (
        before.status,
        before.context.steps,
        before.finished_at,
    )


class Doubt(Noted):
    events = ("ok", "no")

    def execute(self, instance, config, context):
        super().execute(instance, config, context)
        return Error("broken") if self.key in BROKEN else "no"


Early, Late = Doubt.named("early"), Doubt.named("late")


class Doubted(Workflow):
    """Whether ``Late`` gives up or not, the join can't have both."""

    unique = Unique("doubted")
    initial_step = Early
    transitions = {
        (Early, "ok"): JOIN,
        (Early, "no"): Late,
        (Late, "ok"): Done,
        (Late, "no"): JOIN,
        (JOIN, "ok"): Done,
    }
    joins = {JOIN: "all"}


@pytest.mark.parametrize("kind", ["retry", "fork"])
def test_a_rerun_that_begins_without_a_counted_join_names_it_in_its_failure(runtime, kind):
    BROKEN.add("late")
    first = Doubted.start("d1")
    assert first.wait(10).failed_step is Late
    BROKEN.clear()
    again = first.retry() if kind == "retry" else Doubted.fork("d1", Late, value="d2")
    instance = again.wait(10)
    assert (instance.status, instance.failed_step, instance.skipped_steps) == ("failed", None, {JOIN, Done})
    assert instance.failure.message.endswith("step join joins 2 of its 2 predecessors, and 0 came")
