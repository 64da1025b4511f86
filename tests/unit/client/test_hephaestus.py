"""Hephaestus, its handles and the facade, on the local runner: what a user calls, and what comes back."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery
from stage import eventually

from hephaestus_celery import (
    AlreadyRunningError,
    AmbiguousInstanceError,
    AmbiguousResumeError,
    Async,
    ConfigurationError,
    DataError,
    Debug,
    Done,
    Hephaestus,
    InstanceNotFoundError,
    LocalRunner,
    MemoryStorage,
    NotCancellableError,
    NotWaitingError,
    Ok,
    RetryPolicy,
    RunStateError,
    Status,
    Step,
    TooManyEventsError,
    Unique,
    Wait,
    WaitForEvent,
    WaitTimeoutError,
    Workflow,
    route,
)
from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.testing import EventCapture

ONCE = RetryPolicy(max_attempts=1)


class Ask(Step):
    events = ("yes", "no", "timeout")

    def execute(self, instance, config, context):
        return Async(timeout=context.initial.get("timeout"))


class Question(Workflow):
    unique = Unique("question")
    tags = ("slow",)
    initial_step = Ask
    transitions = {(Ask, "yes"): Done, (Ask, "no"): Done, (Ask, "timeout"): Done}


LEFT, RIGHT = Ask.named("left"), Ask.named("right")


class Start(Step):
    events = ("go",)

    def execute(self, instance, config, context):
        return Ok("go")


class Two(Workflow):
    unique = Unique("two")
    initial_step = Start
    transitions = {
        (Start, "go"): [LEFT, RIGHT],
        **{(step, event): Done for step in (LEFT, RIGHT) for event in Ask.events},
    }


class Many(Workflow):
    unique = Unique("many", scope="none")
    initial_step = Start
    transitions = {(Start, "go"): Done}


class Gate(Step):
    """Executes until its test lets it go."""

    events = ("open",)
    begun, opened = threading.Event(), threading.Event()

    def execute(self, instance, config, context):
        type(self).begun.set()
        type(self).opened.wait(30)
        return Async()


class Gated(Workflow):
    unique = Unique("gated")
    initial_step = Gate
    transitions = {(Gate, "open"): Done}


@pytest.fixture
def hephaestus():
    with Hephaestus() as hephaestus:
        yield hephaestus


@pytest.fixture
def gate():
    Gate.begun, Gate.opened = threading.Event(), threading.Event()
    yield Gate
    Gate.opened.set()


def waiting(workflow=Question, value="a1", context=None):
    handle = workflow.start(value, context)
    eventually(lambda: handle.get().status == "waiting")
    return handle


@pytest.fixture
def question(hephaestus):
    return waiting()


def test_a_handle_names_its_instance_and_its_run(hephaestus, question):
    assert question.id == "question::a1"
    assert hephaestus.get(question.run_id).run_id == question.run_id


def test_the_id_may_be_given_whole(hephaestus):
    assert hephaestus.start_instance(Question, {}, id="question::b2").id == "question::b2"
    assert Question.get("question::b2").id == "question::b2"


def test_a_second_start_is_refused_and_changes_nothing(question):
    with pytest.raises(AlreadyRunningError, match="question::a1"):
        Question.start("a1", {"other": True})
    assert question.get().context.initial == {}


def test_an_id_whose_run_has_ended_may_be_started_again(question):
    question.cancel()
    again = Question.start("a1", {})
    assert again.run_id != question.run_id
    assert Question.get("a1").run_id == again.run_id
    assert question.get().status == "cancelled"


def test_start_wants_a_workflow(hephaestus):
    with pytest.raises(ValueError, match="workflow class"):
        hephaestus.start_instance("Question", {}, id="a1")


def test_an_unknown_version_names_the_known_ones(hephaestus):
    with pytest.raises(ValueError, match="has no version 7; known: 1"):
        Question.start("a1", {}, version=7)
    assert len(hephaestus.list()) == 0


def test_a_version_that_no_umbrella_has_cannot_be_started(hephaestus):
    class Orphan(Workflow):
        version = 3
        initial_step = Start
        transitions = {(Start, "go"): Done}

    with pytest.raises(ConfigurationError, match="umbrella"):
        Orphan.start("a1")


def test_waiting_too_long_says_where_the_run_stands(question):
    with pytest.raises(WaitTimeoutError, match=r"still waiting after 0.01 s \(waiting: ask\)"):
        question.wait(0.01)


class Stubborn(Step):
    events = ("ok",)
    retry = RetryPolicy(max_attempts=3, base=60, jitter=False)

    def execute(self, instance, config, context):
        raise ConnectionError


class Trying(Workflow):
    unique = Unique("trying")
    initial_step = Stubborn
    transitions = {(Stubborn, "ok"): Done}


def test_waiting_for_a_step_between_its_attempts_says_so(hephaestus):
    handle = Trying.start("a1")
    eventually(handle.history, what="an attempt that failed")
    with pytest.raises(
        WaitTimeoutError, match=r"still running .*\(active: stubborn \(backing off before attempt 2 of 3\)\)"
    ):
        handle.wait(0.01)


def test_waiting_for_a_run_that_no_worker_takes_says_what_to_look_at():
    with (
        Hephaestus(Celery("nobody", broker="memory://", set_as_current=False), storage=MemoryStorage()),
        pytest.raises(WaitTimeoutError) as late,
    ):
        Question.start("a1").wait(0.01)
    assert str(late.value) == (
        "question::a1 is still pending after 0.01 s (active: ask); no worker has begun with it: "
        f"see that one runs, has imported {Question.name}, and takes from the queue of its first step"
    )


@pytest.mark.parametrize("timeout", [0.01, timedelta(milliseconds=10)])
def test_the_time_to_wait_is_seconds_or_a_timedelta(question, timeout):
    with pytest.raises(WaitTimeoutError, match=r"after 0\.01 s"):
        question.wait(timeout)


@pytest.mark.parametrize("timeout", ["1", True, float("nan")])
def test_the_time_to_wait_is_nothing_else(question, timeout):
    with pytest.raises(ValueError, match="timeout must be seconds or a timedelta"):
        question.wait(timeout)


@pytest.mark.parametrize("reference", [None, 5, "", "a|b", "a|b|c"])
def test_what_is_no_reference_of_a_timer_is_refused(hephaestus, reference):
    with pytest.raises(ValueError, match="no reference of a timer"):
        hephaestus.cancel_timer(reference)


def test_a_closed_runtime_starts_nothing_and_still_reads(hephaestus, question):
    hephaestus.close()
    with pytest.raises(ConfigurationError, match="is closed"):
        hephaestus.start_instance(Question, id="b2")
    assert question.get().status == "waiting"


def test_a_local_runtime_emits_once_that_it_is_ready():
    with EventCapture() as events, Hephaestus(name="here") as hephaestus:
        for value in ("a1", "a2"):
            hephaestus.start_instance(Question, {}, id=value)
        emitted = [event for event in events.events if event.event == ("hephaestus", "runner", "init")]
        assert events.events[0] is emitted[0]
    assert [dict(event.metadata) for event in emitted] == [
        {
            "name": "here",
            "runner": LocalRunner,
            "storage": MemoryStorage,
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
        }
    ]


def test_a_storage_or_runner_may_be_given_as_its_class():
    with Hephaestus(storage=MemoryStorage, runner=LocalRunner) as hephaestus:
        assert hephaestus.start_instance(Question, id="b2").get().id == "question::b2"


def test_a_timer_for_a_step_that_timeout_does_not_lead_on_from_is_refused(hephaestus):
    class Payment(Workflow):
        unique = Unique("payment")
        initial_step = (WaitForEvent, {"event_name": "paid"})
        transitions = {(WaitForEvent, "received"): Done}

    handle = waiting(Payment)
    with pytest.raises(NotWaitingError, match="'timeout'"):
        hephaestus.schedule_resume(handle.id, WaitForEvent, 0)
    handle.resume("paid")
    assert handle.wait(10).status == "completed"


def test_a_timer_for_a_step_that_will_wait_with_a_timeout_is_taken(hephaestus, gate):
    class Later(Workflow):
        unique = Unique("later")
        initial_step = Gate
        transitions = {
            (Gate, "open"): (WaitForEvent, {"event_name": "paid", "timeout_ms": 3_600_000}),
            (WaitForEvent, "received"): Done,
            (WaitForEvent, "timeout"): Done,
        }

    handle = Later.start("a1")
    hephaestus.schedule_resume(handle.id, WaitForEvent, 0)
    gate.opened.set()
    eventually(lambda: handle.get().status == "waiting")
    handle.resume("open")
    assert handle.wait(10).status == "completed"


def test_what_a_route_does_to_its_context_changes_nothing(hephaestus):
    class Deciding(Workflow):
        unique = Unique("deciding")
        initial_step = Start
        default_retry = ONCE

        @route(Start, "go", targets=[Done])
        @staticmethod
        def choose(context):
            context.steps["start"]["n"] = 9
            context.initial["n"] = 9
            return Done

    instance = Deciding.start("a1", {"n": 1}).wait(10)
    assert (instance.status, instance.context.initial, instance.context.steps) == (
        "completed",
        {"n": 1},
        {"start": {}, "done": {}},
    )


def test_a_step_keeps_the_targets_that_a_route_has_computed(hephaestus):
    class Choosing(Workflow):
        unique = Unique("choosing")
        initial_step = Start
        transitions = {(Debug, "completed"): Done}

        @route(Start, "go", targets=[Debug, Done])
        @staticmethod
        def choose(context):
            return Debug

    states = Choosing.start("a1").wait(10).step_states
    assert (states["start"].targets, states["debug"].targets) == (("debug",), None)


def test_the_data_of_an_event_becomes_the_result(question):
    question.resume("yes", {"by": "anna"})
    assert question.wait(5).context.steps["ask"] == {"by": "anna"}


def test_an_event_is_applied_once_from_however_many_places(question):
    outcomes = []

    def send(number):
        try:
            question.resume("yes", {"by": number})
            outcomes.append(number)
        except NotWaitingError:
            pass

    threads = [threading.Thread(target=send, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = outcomes
    assert question.wait(5).context.steps["ask"] == {"by": winner}
    assert [entry.kind for entry in question.history()].count("resume") == 1


@pytest.mark.parametrize("event", ["maybe", "", "two words", "\ud800", None])
def test_an_event_that_nothing_waits_for_is_refused(question, event):
    with pytest.raises(NotWaitingError):
        question.resume(event)
    assert question.get().status == "waiting"


def test_a_finished_run_waits_for_nothing(question):
    question.cancel()
    with pytest.raises(NotWaitingError, match="ended"):
        question.resume("yes", keep_early=True)


def test_several_steps_that_wait_are_named(hephaestus):
    handle = waiting(Two)
    eventually(lambda: len(handle.get().waiting_steps) == 2)
    with pytest.raises(AmbiguousResumeError, match="left, right"):
        handle.resume("yes")
    handle.resume("yes", step=LEFT)
    handle.resume("no", step="right")
    assert handle.wait(5).status == "completed"


def test_a_running_step_waits_for_nothing(hephaestus, gate):
    handle = Gated.start("a1")
    assert gate.begun.wait(5)
    with pytest.raises(NotWaitingError, match="gate being executed"):
        handle.resume("open")


def test_an_event_for_a_step_that_is_about_to_wait_is_not_lost(hephaestus, gate):
    handle = Gated.start("a1")
    assert gate.begun.wait(5)
    threading.Timer(0.05, gate.opened.set).start()
    handle.resume("open", {"n": 1})
    assert handle.wait(5).context.steps["gate"] == {"n": 1}


def test_an_early_event_that_no_step_will_wait_for_is_refused(hephaestus, gate):
    handle = Gated.start("a1")
    with pytest.raises(NotWaitingError):
        handle.resume("close", keep_early=True)
    with pytest.raises(NotWaitingError):
        handle.resume("open", step="other", keep_early=True)


class Twice(Workflow):
    unique = Unique("twice")
    initial_step = LEFT
    transitions = {
        **{(LEFT, event): RIGHT for event in ("yes", "no", "timeout")},
        **{(RIGHT, event): Done for event in ("yes", "no", "timeout")},
    }


def test_early_events_of_one_name_go_to_one_step_after_the_other(hephaestus, gate):
    class Guarded(Workflow):
        unique = Unique("guarded")
        initial_step = Gate
        transitions = {(Gate, "open"): LEFT, **Twice.transitions}

    handle = Guarded.start("a1")
    assert gate.begun.wait(5)
    for number in range(2):
        handle.resume("yes", {"n": number}, keep_early=True)
    handle.resume("open", keep_early=True)
    gate.opened.set()
    assert {key: result["n"] for key, result in handle.wait(5).context.steps.items() if "n" in result} == {
        "left": 0,
        "right": 1,
    }


def test_an_event_with_a_key_is_applied_once_whoever_sends_it(hephaestus):
    handle = waiting(Twice)
    handle.resume("yes", {"n": 1}, key="evt_1")
    eventually(lambda: RIGHT in handle.get().waiting_steps)
    before = handle.get()
    handle.resume("no", {"n": 2}, key="evt_1")
    Twice.resume("a1", "maybe", key="evt_1", keep_early=True)
    hephaestus.resume(handle.id, "yes", step=RIGHT, key="evt_1")
    assert handle.get() == before
    Twice.resume("a1", "yes", key="evt_2")
    ended = handle.wait(5)
    handle.resume("yes", key="evt_1")
    Twice.resume("a1", "yes", key="evt_2")
    assert (handle.get(), ended.context.steps["left"]) == (ended, {"n": 1})
    with pytest.raises(NotWaitingError, match="ended"):
        handle.resume("yes", key="evt_3")


def test_more_early_events_than_a_run_keeps_are_refused_by_name(hephaestus, gate):
    handle = Gated.start("a1")
    assert gate.begun.wait(5)
    for _ in range(100):
        handle.resume("open", keep_early=True)
    with pytest.raises(TooManyEventsError, match=r"gated::a1 .*100 early events.*'open'"):
        handle.resume("open", keep_early=True)


def test_the_errors_of_what_the_status_of_a_run_forbids_have_one_base():
    assert issubclass(NotWaitingError, RunStateError)
    assert issubclass(NotCancellableError, RunStateError)


class Pack(Step):
    events = ("packed",)

    def execute(self, instance, config, context):
        return Ok("packed")


class Sale(Workflow):
    unique = Unique("sale")
    initial_step = Pack
    transitions = {(Pack, "packed"): (WaitForEvent, {"event_name": "paid"}), (WaitForEvent, "received"): Done}


def test_the_name_that_was_meant_is_sought_among_what_is_waited_for_first(hephaestus):
    with pytest.raises(NotWaitingError) as refused:
        Sale.start("a1").resume("payed", keep_early=True)
    assert str(refused.value) == ("no step of Sale waits for 'payed' (did you mean 'paid'?), only for 'paid', 'packed'")


@pytest.mark.parametrize(
    ("event", "options", "message"),
    [
        (
            "yess",
            {},
            r"no step of Question waits for 'yess' \(did you mean 'yes'\?\), only for 'yes', 'no', 'timeout'$",
        ),
        ("yess", {"keep_early": True}, r"did you mean 'yes'"),
        ("yes", {"step": "aks"}, r"Question has no step 'aks' \(did you mean 'ask'\?\); its steps are ask, done$"),
        ("open", {"step": Ask}, r"step ask of Question never waits for 'open', only for 'yes', 'no', 'timeout'$"),
        ("yes", {"step": "done"}, r"step done of Question never waits for an event, 'yes' or any other$"),
    ],
)
def test_a_misspelt_event_or_step_names_what_would_be_accepted(question, event, options, message):
    with pytest.raises(NotWaitingError, match=message):
        question.resume(event, **options)


def test_of_a_workflow_that_is_not_defined_here_the_error_names_what_waiting_steps_accept(hephaestus, question):
    stored = hephaestus.storage._memory.runs[question.run_id]
    stored.new = dataclasses.replace(stored.new, header=stored.new.header.replace(Question.name, "elsewhere.Question"))
    with pytest.raises(NotWaitingError, match="accepted are 'yes' by ask, 'no' by ask, 'timeout' by ask"):
        question.resume("yess")


def test_a_second_resume_before_the_first_is_applied_is_emitted_so():
    with Hephaestus(runner=Idle()):
        handle = Question.start("a1")
        handle.hephaestus.runner.perform(handle)
        handle.resume("yes")
        for options in ({}, {"keep_early": True}, {"step": Ask}):
            with pytest.raises(
                NotWaitingError, match=r"ask of question::a1 has been given an event already.*'yes'"
            ) as caught:
                handle.resume("no", **options)
            assert "keep_early" not in str(caught.value)


def test_keep_early_is_advised_where_it_helps_and_was_not_used(hephaestus, gate):
    handle = Gated.start("a1")
    assert gate.begun.wait(5)
    with pytest.raises(NotWaitingError, match="keep_early=True keeps an event until its step waits"):
        handle.resume("open")
    gate.opened.set()
    eventually(lambda: handle.get().status == "waiting")
    handle.resume("open")
    handle.wait(5)
    with pytest.raises(NotWaitingError) as caught:
        handle.resume("open", keep_early=True)
    assert "keep_early" not in str(caught.value)


def test_an_event_for_a_step_that_has_ended_is_emitted_so(hephaestus):
    handle = waiting(Twice)
    handle.resume("yes")
    eventually(lambda: RIGHT in handle.get().waiting_steps)
    for options in ({}, {"keep_early": True}):
        with pytest.raises(NotWaitingError, match=r"The steps that take 'yes' have ended in this run$"):
            handle.resume("yes", step=LEFT, **options)


class Idle(LocalRunner):
    """Executes what its test gives it, and nothing else."""

    def dispatch(self, messages):
        self.messages = [*getattr(self, "messages", ()), *messages]

    def perform(self, handle):
        messages, self.messages = self.messages, []
        for message in messages:
            self._drive(message)


ODD_TEXTS = ["a\x1fb", "a|b", "two words", "\ud800", "", "x" * 100_000, 5, b"ask", True, float("nan"), ["ask"], object]


@pytest.mark.parametrize("step", ODD_TEXTS, ids=lambda step: repr(step)[:20])
@pytest.mark.parametrize("keep_early", [True, False])
def test_what_can_not_be_the_key_of_a_step_is_refused_where_it_enters(hephaestus, question, step, keep_early):
    before = hephaestus.storage.load(question.run_id)
    with pytest.raises(DataError, match="step must be a step class or its key") as caught:
        question.resume("yes", step=step, keep_early=keep_early)
    assert len(str(caught.value)) < 300
    with pytest.raises(DataError, match="step must be a step class or its key"):
        hephaestus.schedule_resume(question.id, step, 1)
    assert hephaestus.storage.load(question.run_id) == before


@pytest.mark.parametrize(
    "key", ["", "a\x00b", "\ud800", "x" * 201, 5, b"evt_1", True, float("nan")], ids=lambda key: repr(key)[:20]
)
def test_what_can_not_be_the_key_of_an_event_is_refused_where_it_enters(question, key):
    with pytest.raises(DataError, match="key must be a string of 1 to 200 printable characters"):
        question.resume("yes", key=key)


def test_data_that_cannot_be_carried_is_refused_with_its_path(question):
    with pytest.raises(DataError, match=r"data\.tags"):
        question.resume("yes", {"tags": {"a"}})


def test_a_cancelled_run_says_why(question):
    with EventCapture() as captured:
        question.cancel("too late")
    instance = question.get()
    assert (instance.status, instance.cancel_reason) == (Status.CANCELLED, "too late")
    assert instance.waiting_steps == instance.active_steps == frozenset()
    assert instance.current_step is None
    assert [event.event for event in captured.events] == [("hephaestus", "workflow", "cancel")]
    assert [(entry.kind, entry.reason) for entry in question.history()][-1] == ("cancel", "too late")


def test_what_has_ended_cannot_be_cancelled(question):
    question.cancel()
    with pytest.raises(NotCancellableError, match=r"^question::a1 has ended already \(cancelled\); only an active run"):
        Question.cancel("a1")
    with pytest.raises(NotCancellableError, match=r"^question::a1 has ended already \(cancelled\)"):
        question.cancel()


def test_what_was_never_started_is_not_found(hephaestus):
    with pytest.raises(InstanceNotFoundError, match="question::nobody"):
        Question.get("nobody")
    with pytest.raises(InstanceNotFoundError):
        hephaestus.history("01a202db-5211-71eb-b64c-54291c92b12b")


@pytest.mark.parametrize("id", [5, None, b"question::a1"])
def test_an_id_that_is_no_string_is_named(hephaestus, id):
    with pytest.raises(ValueError, match="must be a string"):
        hephaestus.get(id)


def test_one_id_of_two_workflows_is_ambiguous(hephaestus):
    class Other(Workflow):
        unique = Unique("question")
        initial_step = Ask
        transitions = {(Ask, "yes"): Done, (Ask, "no"): Done, (Ask, "timeout"): Done}

    first, second = Question.start("a1"), Other.start("a1")
    with pytest.raises(AmbiguousInstanceError, match=first.run_id):
        hephaestus.get("question::a1")
    assert Other.get("a1").run_id == second.run_id


def test_without_a_scope_every_start_has_an_id_of_its_own(hephaestus):
    handles = [Many.start("a1") for _ in range(3)]
    assert len({handle.id for handle in handles}) == 3
    assert all(handle.id.startswith("many::a1::") for handle in handles)
    with pytest.raises(ConfigurationError, match="scope is 'none'"):
        Many.get("a1")
    assert Many.get(handles[0].id).run_id == handles[0].run_id
    assert len(Many.list()) == 3


def test_a_page_leads_to_the_next(hephaestus):
    handles = [Many.start("a1") for _ in range(5)]
    first = hephaestus.list(limit=3)
    second = hephaestus.list(limit=3, cursor=first.next_cursor)
    listed = [instance.run_id for page in (first, second) for instance in page]
    assert sorted(listed) == sorted(handle.run_id for handle in handles)
    assert second.next_cursor is None


def test_filters_must_all_match(hephaestus, question):
    Many.start("a1").wait(5)
    now = datetime.now(UTC)
    assert len(hephaestus.list(tag="slow", status="waiting", workflow=Question)) == 1
    assert len(hephaestus.list(tag="slow", status="completed")) == 0
    assert len(hephaestus.list(started_before=now - timedelta(hours=1))) == 0
    assert len(hephaestus.list(started_after=now - timedelta(hours=1), status_in=["waiting", "completed"])) == 2
    with pytest.raises(TypeError, match="no filter 'colour'"):
        hephaestus.list(colour="red")


def test_a_timeout_gives_its_event(hephaestus):
    with EventCapture() as captured:
        handle = Question.start("a1", {"timeout": 0.05})
        assert handle.wait(10).status == "completed"
    [resumed] = captured.of(("hephaestus", "step", "resume"))
    assert (resumed.metadata["resume_event"], resumed.metadata["source"]) == ("timeout", "timeout")
    assert resumed.measurements["wait_duration"] >= 50_000_000
    assert [entry.kind for entry in handle.history()] == ["attempt", "timer", "attempt"]


def test_a_timer_that_was_set_by_hand_gives_the_timeout(hephaestus, question):
    hephaestus.schedule_resume(question.id, Ask, 0.05)
    assert question.wait(10).status == "completed"
    assert question.history()[1].event == "timeout"


def test_a_timer_that_was_taken_back_does_not_fire(hephaestus, question):
    reference = hephaestus.schedule_resume(question.id, "ask", timedelta(hours=1))
    assert hephaestus.cancel_timer(reference) is True
    assert hephaestus.cancel_timer(reference) is False
    with pytest.raises(ValueError, match="no reference"):
        hephaestus.cancel_timer("nonsense")


def test_a_timer_for_a_step_that_cannot_take_it_is_refused(hephaestus, question):
    with pytest.raises(NotWaitingError, match="no step 'start'"):
        hephaestus.schedule_resume(question.id, Start, 1)
    with pytest.raises(ValueError, match="negative"):
        hephaestus.schedule_resume(question.id, Ask, -1)


def test_a_wait_takes_its_time(hephaestus):
    class Nap(Workflow):
        unique = Unique("nap")
        initial_step = (Wait, {"duration": timedelta(milliseconds=80)})
        transitions = {(Wait, "timeout"): Done}

    instance = Nap.start("a1").wait(10)
    assert instance.finished_at - instance.started_at >= timedelta(milliseconds=80)
    assert dict(instance.step_configs) == {Wait: {"duration": timedelta(milliseconds=80)}}


def test_a_wait_for_an_event_gives_up_after_its_timeout(hephaestus):
    class Slow(Workflow):
        unique = Unique("slow")
        initial_step = (WaitForEvent, {"event_name": "paid", "timeout_ms": 50})
        transitions = {(WaitForEvent, "received"): Done, (WaitForEvent, "timeout"): Done}

    handle = Slow.start("a1")
    assert handle.wait(10).status == "completed"
    assert handle.history()[1].event == "timeout"


def test_a_failed_attempt_is_tried_again_until_it_works(hephaestus):
    class Flaky(Step):
        events = ("done",)
        retry = RetryPolicy(max_attempts=3, base=0.01)

        def execute(self, instance, config, context):
            if instance.step_states["flaky"].attempt < 3:
                raise RuntimeError("not yet")
            return Ok("done", {"key": instance.idempotency_key(self)})

    class Trying(Workflow):
        unique = Unique("trying")
        initial_step = Flaky
        transitions = {(Flaky, "done"): Done}

    with EventCapture() as captured:
        handle = Trying.start("a1")
        instance = handle.wait(10)
    assert instance.context.steps["flaky"] == {"key": f"{handle.run_id}:flaky"}
    assert [entry.outcome for entry in handle.history()] == ["retrying", "retrying", "completed", "completed"]
    exceptions = captured.of(("hephaestus", "step", "exception"))
    assert [event.metadata["will_retry"] for event in exceptions] == [True, True]
    assert [event.metadata["attempt"] for event in captured.of(("hephaestus", "step", "start"))] == [1, 2, 3, 1]
    numbers = [event.metadata["sequence"] for event in captured.events if "sequence" in event.metadata]
    assert numbers == list(range(1, len(numbers) + 1))


def limited(execute, seconds):
    """A workflow of one step, which may take so long and has one attempt."""
    step = type("Limited", (Step,), {"events": ("ok",), "execute": execute, "time_limit": seconds, "retry": ONCE})
    attributes = {"unique": Unique("limited"), "initial_step": step, "transitions": {(step, "ok"): Done}}
    return type("LimitedFlow", (Workflow,), attributes)


def test_an_attempt_over_its_time_limit_fails_and_its_late_end_changes_nothing(hephaestus):
    released, ended = threading.Event(), threading.Event()

    def execute(self, instance, config, context):
        released.wait(10)
        ended.set()
        return Ok("ok")

    with EventCapture() as captured:
        handle = limited(execute, 0.05).start("a1")
        instance = handle.wait(10)
        assert (instance.status, instance.failure.kind) == ("failed", "exit")
        assert instance.failure.message == "step limited: time limit exceeded"
        released.set()
        hephaestus.close()  # returns when the step has ended
    assert ended.is_set()
    emitted = [event.event for event in captured.events if event.event[1] == "step"]
    assert emitted == [("hephaestus", "step", name) for name in ("start", "rescue", "exception")]
    assert handle.get() == instance


def test_an_attempt_that_ends_after_its_time_limit_has_failed_whoever_notices_first(hephaestus):
    def execute(self, instance, config, context):
        over = SYSTEM_CLOCK.monotonic_ns() + 20_000_000
        while SYSTEM_CLOCK.monotonic_ns() < over:
            pass
        return Ok("ok")

    instance = limited(execute, 0.01).start("a1").wait(10)
    assert (instance.status, instance.failure.kind) == ("failed", "exit")


def test_an_attempt_within_its_time_limit_completes(hephaestus):
    assert limited(lambda *_: Ok("ok"), 60).start("a1").wait(10).status == "completed"


def test_an_instance_whose_class_is_gone_is_still_listed(hephaestus, question):
    from hephaestus_celery import DefinitionError
    from hephaestus_celery.core.definition.registry import WORKFLOWS

    WORKFLOWS.discard(Question)
    try:
        [instance] = hephaestus.list()
        assert instance.id == "question::a1"
        with pytest.raises(DefinitionError, match=r"(?s)question::a1.*Question"):
            _ = instance.waiting_steps
    finally:
        WORKFLOWS.add(Question)


def test_parallel_branches_run_side_by_side(hephaestus):
    meeting = threading.Barrier(8)

    class Meet(Step):
        events = ("met",)

        def execute(self, instance, config, context):
            meeting.wait(10)
            return Ok("met")

    branches = [Meet.named(f"meet{number}") for number in range(8)]

    class Meeting(Workflow):
        unique = Unique("meeting")
        initial_step = Start
        transitions = {(Start, "go"): branches, **{(branch, "met"): Done for branch in branches}}

    assert Meeting.start("a1").wait(20).status == "completed"


def test_a_step_that_was_taken_out_of_a_workflow_is_emitted_as_that(caplog):
    def flow(**attributes):
        return type("Shrinking", (Workflow,), {"__module__": "shop", "unique": Unique("shrinking"), **attributes})

    with Hephaestus() as hephaestus:
        first = flow(initial_step=Ask, transitions={(Ask, event): Done for event in Ask.events})
        handle = hephaestus.start_instance(first, id="x1")
        eventually(lambda: handle.get().status == "waiting")
        flow(initial_step=Start, transitions={(Start, "go"): Done})
        handle.resume("yes")
        eventually(lambda: "workflow shop.Shrinking version 1 has no step 'ask'" in caplog.text)


class Unheard(Step):
    events = ("ok",)
    retry = RetryPolicy(max_attempts=5, base=0.01)

    def execute(self, instance, config, context):
        return Ok("unheard") if context.initial.get("breaks") else Ok("ok")


class Astray(Workflow):
    """Its route names a target that it did not declare."""

    unique = Unique("astray")
    initial_step = Unheard
    transitions = {(Start, "go"): Done}

    @route(Unheard, "ok", targets=[Start])
    def lead(self, context):
        return Done


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [(True, "ValueError: step unheard"), (False, "RouteError: route lead gave Done, which is none of its targets")],
)
def test_what_no_further_attempt_can_mend_fails_at_once(breaks, reason):
    with Hephaestus() as hephaestus:
        handle = hephaestus.start_instance(Astray, {"breaks": breaks}, id="x1")
        assert handle.wait(timeout=30).status == "failed"
        [attempt] = handle.history()
    assert (attempt.attempt, attempt.outcome, reason in attempt.reason) == (1, "failed", True)


class Fixed:
    """A clock that stands, and chance that gives the same each time."""

    def time_ns(self):
        return 1_700_000_000_000_000_000

    monotonic_ns = elapsed_ns = time_ns

    def sleep(self, seconds):
        raise AssertionError("nobody waits")

    def fraction(self):
        return 0.5

    def bits(self, count):
        return (1 << count) - 1

    def token(self):
        return "0123456789abcdef"


def test_ids_are_made_of_the_clock_and_the_chance_that_a_runtime_was_given():
    class Free(Workflow):
        unique = Unique("free", "none")
        initial_step = Done

    fixed = Fixed()
    with Hephaestus(clock=fixed, chance=fixed, storage=MemoryStorage()) as hephaestus:
        handle = hephaestus.start_instance(Free, id="a1")
        assert handle.id == "free::a1::01234567"
        assert handle.run_id == new_run_id(
            milliseconds=1_700_000_000_000, instance_id=handle.id, random_bits=(1 << 58) - 1
        )


@pytest.mark.parametrize("timeout", [0.01, timedelta(milliseconds=10)])
def test_a_wait_for_an_event_ends_after_its_timeout(timeout):
    class Signed(Workflow):
        unique = Unique("signed")
        initial_step = (WaitForEvent, {"event_name": "signed", "timeout": timeout})
        transitions = {(WaitForEvent, "received"): Done, (WaitForEvent, "timeout"): (Wait, {"duration": 0.01})} | {
            (Wait, "timeout"): Done
        }

    with Hephaestus() as hephaestus:
        ended = hephaestus.start_instance(Signed, id="a1").wait(timeout=30)
        assert ended.step_configs == {
            WaitForEvent: {"event_name": "signed", "timeout": timeout},
            Wait: {"duration": 0.01},
        }


class SlowToLook(MemoryStorage):
    """Somebody else is faster, once, between an event that nothing waits for and the look at its run."""

    meanwhile = None

    def load(self, run_id, *, steps=None):
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().load(run_id, steps=steps)


class AskedLater(Workflow):
    unique = Unique("askedlater")
    initial_step = (Wait, {"duration": timedelta(hours=1)})
    transitions = {(Wait, "timeout"): Ask, **{(Ask, event): Done for event in Ask.events}}


def test_an_event_that_another_brings_between_the_refusal_and_the_look_is_no_mistake():
    storage = SlowToLook()
    with Hephaestus(storage=storage):
        handle = AskedLater.start("a1")
        eventually(lambda: Wait in handle.get().waiting_steps)
        storage.meanwhile = lambda: handle.resume("yes", {"n": 1}, key="evt_1", keep_early=True)
        handle.resume("yes", {"n": 2}, key="evt_1")
        with pytest.raises(NotWaitingError):
            handle.resume("yes", {"n": 2}, key="evt_2")
        assert [entry.event for entry in handle.history() if entry.kind == "resume"] == []
