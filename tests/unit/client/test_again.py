"""Steps that answer ``Again``, on the local runner: what a user writes, and what comes of it."""

from __future__ import annotations

import dataclasses
import logging
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from celery import Celery
from stage import eventually

from hephaestus_celery import (
    FAILED,
    Again,
    Async,
    Done,
    Hephaestus,
    MemoryStorage,
    NotWaitingError,
    RetryPolicy,
    Step,
    Unique,
    Workflow,
    step,
    task_step,
    telemetry,
)
from hephaestus_celery.client.standing import reasons
from hephaestus_celery.testing import EventCapture

LOCK = threading.Lock()
SEEN: list[tuple] = []
ANSWERS: dict[int, object] = {}
"""What the step answers in each round; else it is ready. An exception is raised, once."""


class PollAgain(Step):
    events = ("ready", "late")
    retry = RetryPolicy(max_attempts=3, base=0.001)

    def execute(self, instance, config, context):
        with LOCK:
            attempt = instance.step_states[self.key].attempt
            SEEN.append((context.round, attempt, dict(context.state), instance.idempotency_key(self)))
            context.state["changed"] = "by the step"
            answer = ANSWERS.get(context.round, "ready")
            if isinstance(answer, Exception):
                return_to = ANSWERS.pop(context.round)
                raise return_to
        return answer


class PollAgainFlow(Workflow):
    unique = Unique("pollagain")
    initial_step = PollAgain
    transitions = {(PollAgain, "ready"): Done, (PollAgain, "late"): Done}


class GivesUpPolling(Workflow):
    unique = Unique("givesuppolling")
    initial_step = PollAgain
    transitions = {(PollAgain, "ready"): Done, (PollAgain, "late"): Done, (PollAgain, FAILED): Done}


@pytest.fixture(autouse=True)
def fresh():
    SEEN.clear()
    ANSWERS.clear()


@pytest.fixture
def runtime():
    with Hephaestus(storage=MemoryStorage()) as opened:
        yield opened


def polled(workflow=PollAgainFlow, *, rounds=None, **context):
    ANSWERS.update(rounds or {})
    handle = workflow.start("a1", context)
    return handle, handle.wait(10)


def between_rounds(answer=None):
    handle = PollAgainFlow.start("a1", ANSWERS.update({1: answer or Again(3600, {"n": 1})}) or {})
    eventually(lambda: handle.get().waiting_steps, what="the step is between two rounds")
    return handle


# Rounds and their state


def test_each_round_is_given_the_state_of_the_one_before(runtime):
    _, instance = polled(rounds={1: Again(0, {"cursor": 10}), 2: Again(0.01, {"cursor": 20}), 3: Again(0)})
    assert instance.status == "completed"
    assert [(number, state) for number, _, state, _ in SEEN] == [
        (1, {}),
        (2, {"cursor": 10}),
        (3, {"cursor": 20}),
        (4, {}),
    ]


def test_a_round_begins_after_its_time(runtime):
    handle, _ = polled(rounds={1: Again(timedelta(milliseconds=80))})
    first, second, _ = handle.history()
    assert second.started_at - first.finished_at >= timedelta(milliseconds=80)


def test_a_round_uses_up_no_attempt_and_a_repeated_attempt_has_its_state(runtime):
    for number in (1, 2, 3):
        ANSWERS[number] = ValueError("once")
    original = {number: Again(0, {"n": number}) for number in (1, 2, 3)}

    class RoundsWithFailures(PollAgain):
        key = "rounds_with_failures"

        def execute(self, instance, config, context):
            first = super().execute(instance, config, context)
            return original.get(context.round, first)

    class RoundsWithFailuresFlow(Workflow):
        unique = Unique("roundswithfailures")
        initial_step = RoundsWithFailures
        transitions = {(RoundsWithFailures, "ready"): Done, (RoundsWithFailures, "late"): Done}

    handle = RoundsWithFailuresFlow.start("a1", {})
    assert handle.wait(10).status == "completed"
    assert [(number, attempt, state) for number, attempt, state, _ in SEEN] == [
        (1, 1, {}),
        (1, 2, {}),
        (2, 1, {"n": 1}),
        (2, 2, {"n": 1}),
        (3, 1, {"n": 2}),
        (3, 2, {"n": 2}),
        (4, 1, {"n": 3}),
    ]


def test_the_idempotency_key_is_one_for_all_attempts_of_a_round(runtime):
    class Twice(PollAgain):
        key = "polls_twice"

        def execute(self, instance, config, context):
            super().execute(instance, config, context)
            if instance.step_states[self.key].attempt == 1:
                raise ValueError("once")
            return Again(0) if context.round < 3 else "ready"

    class PollsTwice(Workflow):
        unique = Unique("pollstwice")
        initial_step = Twice
        transitions = {(Twice, "ready"): Done, (Twice, "late"): Done}

    handle = PollsTwice.start("a1", {})
    handle.wait(10)
    run = handle.run_id
    assert [key for *_, key in SEEN] == [
        f"{run}:polls_twice",
        f"{run}:polls_twice",
        f"{run}:polls_twice::2",
        f"{run}:polls_twice::2",
        f"{run}:polls_twice::3",
        f"{run}:polls_twice::3",
    ]


def test_a_round_that_fails_for_good_fails_the_run(runtime):
    class Falls(PollAgain):
        key = "falls_in_a_round"

        def execute(self, instance, config, context):
            super().execute(instance, config, context)
            if context.round == 2:
                raise ValueError("always")
            return Again(0)

    class FallsInARound(Workflow):
        unique = Unique("fallsinaround")
        initial_step = Falls
        transitions = {(Falls, "ready"): Done, (Falls, "late"): Done}

    handle = FallsInARound.start("a1", {})
    assert handle.wait(10).failed_step is Falls
    assert [(entry.round, entry.attempt, entry.outcome) for entry in handle.history()] == [
        (1, 1, "again"),
        (2, 1, "retrying"),
        (2, 2, "retrying"),
        (2, 3, "failed"),
    ]


# What a round may be given


def test_a_state_may_hold_what_data_may_hold(runtime):
    state = {"at": datetime(2026, 1, 2, tzinfo=UTC), "price": Decimal("9.90"), "rows": [1, {"x": None}]}
    polled(rounds={1: Again(0, state)})
    assert SEEN[1][2] == state


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Again(-1), "returned Again(after=-1 (int)), which is negative"),
        (Again(timedelta(seconds=-1)), "which is negative"),
        (Again("soon"), "after must be seconds or a timedelta, not 'soon'"),
        (Again(float("nan")), "after must be seconds or a timedelta"),
        (Again(None), "after must be seconds or a timedelta"),
        (Again(0, ["rows"]), "step poll_again (PollAgain): state"),
        (Again(0, {"rows": {1, 2}}), "state.rows"),
        (Again(0, {1: "x"}), "state"),
        (Again(0, {"x": "y" * 2_000_000}), "more than hephaestus_max_payload allows"),
        (Again, "it must return Ok, Async, Again or Error"),
    ],
    ids=repr,
)
def test_an_answer_that_breaks_the_contract_is_a_failed_attempt_that_is_not_tried_again(runtime, answer, words):
    handle, instance = polled(rounds={1: answer})
    assert instance.status == "failed"
    assert words in instance.failure.message
    assert [entry.outcome for entry in handle.history()] == ["failed"]


def test_a_failure_edge_takes_what_a_round_has_failed_with(runtime):
    _, instance = polled(GivesUpPolling, rounds={1: Again(0, {"n": 1}), 2: Again(-1)})
    assert instance.status == "completed"
    assert "negative" in instance.context.failure(PollAgain).message


def test_a_longest_time_is_a_time_like_any_other(runtime):
    handle = between_rounds(Again(timedelta.max))
    assert handle.cancel() is not None or handle.get().status == "cancelled"


# Between two rounds


def test_a_step_between_rounds_waits_and_no_resume_reaches_it(runtime):
    handle = between_rounds()
    assert (handle.status, handle.get().current_step) == ("waiting", PollAgain)
    for named in (None, PollAgain):
        with pytest.raises(NotWaitingError, match="until round 2 begins"):
            handle.resume("ready", step=named)


def test_an_early_event_is_kept_until_the_step_waits_for_it(runtime):
    handle = PollAgainFlow.start("a1", ANSWERS.update({1: Again(0.2), 2: Async()}) or {})
    eventually(lambda: handle.get().waiting_steps, what="the step is between two rounds")
    handle.resume("late", {"x": 1}, keep_early=True)
    assert handle.wait(10).context.steps["poll_again"] == {"x": 1}
    assert [number for number, *_ in SEEN] == [1, 2]


def test_a_timeout_beside_a_step_between_rounds_means_nothing_to_it(runtime):
    handle = between_rounds()
    handle.cancel("enough")
    assert handle.wait(10).status == "cancelled"
    assert len(SEEN) == 1


def test_a_paused_run_begins_no_round_before_it_goes_on(runtime):
    handle = PollAgainFlow.start("a1", ANSWERS.update({1: Again(0.3, {"n": 1})}) or {})
    eventually(lambda: handle.get().waiting_steps, what="the step is between two rounds")
    runtime.pause(handle.id)
    eventually(lambda: handle.get().active_steps, what="its round is due")
    assert len(SEEN) == 1
    runtime.unpause(handle.id)
    assert handle.wait(10).status == "completed"
    assert [(number, state) for number, _, state, _ in SEEN] == [(1, {}), (2, {"n": 1})]


def test_why_it_does_not_move_says_when_the_round_begins(runtime):
    handle = between_rounds()
    [why] = reasons(handle.get(), runtime.storage, runtime.runner.fleet, handle.history())
    assert (why.step, why.cause, why.waits_for) == ("poll_again", "round", "the time when its round 2 begins")
    assert why.until - why.since > 3_590_000_000


# Retries and forks


def broken_in_round_two():
    class Mended(PollAgain):
        key = "mended_in_round_two"
        retry = RetryPolicy(max_attempts=1)

        def execute(self, instance, config, context):
            super().execute(instance, config, context)
            if context.round == 2 and ANSWERS.get(2) != "mended":
                raise ValueError("broken")
            return Again(0, {"n": context.round}) if context.round < 3 else "ready"

    class MendedInRoundTwo(Workflow):
        unique = Unique("mendedinroundtwo")
        initial_step = Mended
        transitions = {(Mended, "ready"): Done, (Mended, "late"): Done}

    handle = MendedInRoundTwo.start("a1", {})
    assert handle.wait(10).status == "failed"
    ANSWERS[2] = "mended"
    SEEN.clear()
    return MendedInRoundTwo, handle


def test_a_retry_goes_on_in_the_round_and_with_the_state_that_it_had(runtime):
    workflow, first = broken_in_round_two()
    assert workflow.retry("a1").wait(10).status == "completed"
    assert [
        (2, 1, {"n": 1}, f"{first.run_id}:mended_in_round_two::2"),
        (3, 1, {"n": 2}, f"{first.run_id}:mended_in_round_two::3"),
    ] == SEEN


def test_a_fork_begins_with_the_first_round(runtime):
    workflow, _ = broken_in_round_two()
    again = workflow.fork("a1", "mended_in_round_two")
    assert again.wait(10).status == "completed"
    assert [(number, state) for number, _, state, _ in SEEN] == [(1, {}), (2, {"n": 1}), (3, {"n": 2})]
    assert SEEN[0][3] == f"{again.run_id}:mended_in_round_two"


# Other ways to write a step


@step
def page_through(context):
    taken = context.state.get("taken", [])
    return {"rows": taken} if len(taken) == 3 else Again(0, {"taken": [*taken, context.round]})


@step
async def page_async(context):
    return Again(0, {"n": context.round}) if context.round < 3 else {"n": context.state["n"]}


celery = Celery("again", set_as_current=False)


@celery.task(shared=False)
def look_again(number):
    return number if number == 3 else Again(0, {"number": number + 1})


LookAgain = task_step(look_again, arguments=lambda context: {"number": context.state.get("number", 1)})


class ManyWaysOfAgain(Workflow):
    unique = Unique("manywaysofagain")
    initial_step = page_through
    transitions = {page_through: page_async, page_async: LookAgain, LookAgain: Done}


def test_functions_coroutines_and_tasks_may_answer_again(runtime):
    instance = ManyWaysOfAgain.start("a1", {}).wait(10)
    assert instance.context.steps == {
        "page_through": {"rows": [1, 2, 3]},
        "page_async": {"n": 2},
        "look_again": {"value": 3},
        "done": {},
    }


@dataclasses.dataclass
class Rows:
    rows: list[int]


class TypedRounds(Step[Rows]):
    def execute(self, instance, config, context):
        taken = context.state.get("taken", [])
        return Rows(taken) if len(taken) == 2 else Again(0, {"taken": [*taken, context.round]})


class TypedRoundsFlow(Workflow):
    unique = Unique("typedrounds")
    initial_step = TypedRounds
    transitions = {TypedRounds: Done}


def test_the_state_of_a_typed_step_is_not_of_the_type_of_its_result(runtime):
    instance = TypedRoundsFlow.start("a1", {}).wait(10)
    assert instance.context.result(TypedRounds) == Rows([1, 2])


# What is told


def test_each_round_is_a_start_and_an_async_and_no_resume_comes_between(runtime):
    with EventCapture() as capture:
        polled(rounds={1: Again(0.02, {"n": 1}), 2: Again(0)})
    steps = [event for event in capture.events if event.metadata.get("step") is PollAgain]
    names = [".".join(event.event[1:]) for event in steps]
    assert names == ["step.start", "step.async"] * 2 + ["step.start", "step.stop"]
    told = [event.metadata for event in steps]
    assert [(each["round"], each["attempt"], each["resumes_in"]) for each in told if "resumes_in" in each] == [
        (1, 1, 20_000_000),
        (2, 1, 0),
    ]
    assert told[1]["instance_status"] == "waiting"
    assert [each.get("round") for each in told] == [None, 1, 2, 2, 3, 3]
    numbers = [event.metadata["sequence"] for event in capture.events if "sequence" in event.metadata]
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_event_that_reaches_a_step_in_a_later_round_is_told_with_it(runtime):
    with EventCapture() as capture:
        handle = PollAgainFlow.start("a1", ANSWERS.update({1: Again(0), 2: Async()}) or {})
        eventually(lambda: [entry.outcome for entry in handle.history()] == ["again", "waiting"], what="round 2 waits")
        handle.resume("late")
        assert handle.wait(10).status == "completed"
    [told] = [event.metadata for event in capture.events if event.event[1:] == ("step", "resume")]
    assert (told["step"], told["round"]) == (PollAgain, 2)
    assert [(entry.outcome, entry.round) for entry in handle.history()][:3] == [
        ("again", 1),
        ("waiting", 2),
        ("completed", 2),
    ]


def test_a_plain_async_tells_when_it_times_out(runtime):
    class Asks(Step):
        events = ("yes", "timeout")

        def execute(self, instance, config, context):
            return Async(timeout=0.05)

    class AsksOnce(Workflow):
        unique = Unique("asksonce")
        initial_step = Asks
        transitions = {(Asks, "yes"): Done, (Asks, "timeout"): Done}

    with EventCapture() as capture:
        AsksOnce.start("a1", {}).wait(10)
    [told] = [event.metadata for event in capture.events if event.event[1:] == ("step", "async")]
    assert (told["round"], told["resumes_in"], told["outcome"]) == (1, 50_000_000, "waiting")


def test_a_round_is_logged_for_debugging_alone(runtime, caplog):
    telemetry.log_handler.attach()
    try:
        with caplog.at_level(logging.DEBUG, logger="hephaestus_celery"):
            polled(rounds={1: Again(0.02)})
    finally:
        telemetry.log_handler.detach()
    [line] = [record for record in caplog.records if record.getMessage().endswith("the next begins in 20 ms")]
    assert line.levelno == logging.DEBUG
    assert "step poll_again ended round 1 after" in line.getMessage()


def test_the_history_has_the_round_of_each_entry(runtime):
    handle, _ = polled(rounds={1: Again(0), 2: Again(0)})
    assert [(entry.step, entry.kind, entry.outcome, entry.round, entry.attempt) for entry in handle.history()] == [
        ("poll_again", "attempt", "again", 1, 1),
        ("poll_again", "attempt", "again", 2, 1),
        ("poll_again", "attempt", "completed", 3, 1),
        ("done", "attempt", "completed", None, 1),
    ]


class ManyRounds(Step):
    def execute(self, instance, config, context):
        return Again(0) if context.round < 1000 else {"round": context.round}


class ManyRoundsFlow(Workflow):
    unique = Unique("manyrounds")
    initial_step = ManyRounds
    transitions = {ManyRounds: Done}


def test_of_a_thousand_rounds_the_history_has_the_first_and_the_last_and_one_entry_for_the_rest(runtime):
    handle = ManyRoundsFlow.start("a1", {})
    assert handle.wait(60).context.steps["many_rounds"] == {"round": 1000}
    entries = handle.history()
    rounds = [entry for entry in entries if entry.outcome == "again"]
    assert [entry.round for entry in rounds] == [*range(1, 101), None, *range(900, 1000)]
    assert (rounds[100].reason, rounds[100].attempt, rounds[100].kind) == ("stands for 799 rounds", None, "attempt")
    assert len(entries) == 203
    paged, after = [], 0
    while page := runtime.history(handle.id, after=after, limit=50):
        paged.extend(page)
        after = page[-1].sequence
    assert paged == list(entries)


class PollsUntilItsDeadline(Workflow):
    unique = Unique("pollsuntilitsdeadline")
    initial_step = PollAgain
    transitions = {(PollAgain, "ready"): Done, (PollAgain, "late"): Done}
    deadline = 0.3


@pytest.mark.parametrize("answer", [Again(3600), Again(0.05), Again(0)], ids=repr)
def test_a_run_that_polls_beyond_its_deadline_fails(runtime, answer):
    class Endless(dict):
        def get(self, number, default=None):
            return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.ANSWERS", Endless())
        handle = PollsUntilItsDeadline.start("a1", {})
        instance = handle.wait(10)
    assert (instance.status, instance.failure.type) == ("failed", "DeadlineExceeded")
    ended = handle.history()[-1]
    assert (ended.kind, ended.step) in [("timer", None), ("attempt", "poll_again")]
