"""Whatever a step does is one of three checked answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from ids import shown

from hephaestus_celery import Async, Error, NonRetryableError, Ok, Step
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.formatting import named
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.exceptions import AttemptLostError, StepFailedError
from hephaestus_celery.runners.execution import call
from hephaestus_celery.runners.step_exceptions import Failed, failed, lost, stuck
from hephaestus_celery.runners.step_result import Completed, Waiting

INSTANCE = Instance(
    id="orderid::a1",
    run_id="0190f0f0-0000-7000-8000-000000000001",
    workflow_name="shop.Order",
    workflow_version=1,
    workflow_family="shop.Order",
    status=Status.RUNNING,
    started_at=datetime(2023, 11, 14, tzinfo=UTC),
    context=Context(initial={"n": 3}),
)


class Revoked(BaseException):
    """How this runner stops a step."""


def run(answer, *, events=("ok", "timeout"), limit=1000, stop_exceptions=(), execute=None):
    """What is made of a step that answers so."""

    def plain(self, instance, config, context):
        return answer

    step = type("Charge", (Step,), {"events": events, "execute": execute or plain})
    return call(step, INSTANCE, lambda: {"k": 1}, limit=limit, stop_exceptions=stop_exceptions)


def raising(error):
    def execute(self, instance, config, context):
        raise error

    return execute


def test_a_step_gets_the_instance_its_config_and_the_context():
    def execute(self, instance, config, context):
        return Ok("ok", {"id": instance.id, "config": config["k"], "initial": context.initial["n"]})

    assert run(None, execute=execute).result == '{"id":"orderid::a1","config":1,"initial":3}'


def test_ok_completes():
    assert run(Ok("ok", {"a": 1}, {"b": 2})) == Completed(event="ok", result='{"a":1}', metadata='{"b":2}')


@pytest.mark.parametrize("updates", [None, {}])
def test_ok_without_updates_stores_nothing(updates):
    assert run(Ok("ok", updates, updates)) == Completed(event="ok", result=None, metadata=None)


@pytest.mark.parametrize("events", [("done",), ["done"]])
@pytest.mark.parametrize(("answer", "result"), [(None, None), ({}, None), ({"a": 1}, '{"a":1}')])
def test_a_mapping_or_none_is_ok_of_the_only_event(events, answer, result):
    assert run(answer, events=events) == Completed(event="done", result=result, metadata=None)


@pytest.mark.parametrize("events", [("ok",), ("ok", "timeout")])
def test_a_string_is_ok_of_that_event(events):
    assert run("ok", events=events) == Completed(event="ok", result=None, metadata=None)


@pytest.mark.parametrize("answer", [None, "ok", {"a": 1}])
def test_short_forms_may_come_from_a_coroutine(answer):
    async def execute(self, instance, config, context):
        return answer

    assert run(None, execute=execute, events=("ok",)) == run(answer, events=("ok",))


@pytest.mark.parametrize("answer", [None, {}, {"a": 1}], ids=shown)
def test_several_events_need_an_answer_that_names_one(answer):
    failure = run(answer, events=("ok", "timeout"))
    assert (failure.retry, failure.message) == (
        False,
        (
            f"step charge (Charge) returned {named(answer)} without an event, and it declares several ('ok', 'timeout'): return "
            "Ok(event, ...), or the name of an event"
        ),
    )


def test_the_result_of_a_short_form_is_checked_as_any_other():
    failure = run({"a": {1}}, events=("ok",))
    assert (failure.retry, "step charge (Charge): context.a" in failure.message) == (False, True)


def test_an_async_step_is_run_to_its_end():
    async def execute(self, instance, config, context):
        await asyncio.sleep(0)
        return Ok("ok")

    assert run(None, execute=execute).event == "ok"


def test_an_async_step_that_raises_has_failed():
    async def execute(self, instance, config, context):
        raise ValueError("no")

    assert run(None, execute=execute).message == "no"


def test_async_waits_without_end():
    assert run(Async()) == Waiting(timeout=None)


@pytest.mark.parametrize(
    ("timeout", "micros"), [(0, 0), (1.5, 1_500_000), (timedelta(minutes=1), 60_000_000), (0.1, 100_000)]
)
def test_async_waits_for_a_time(timeout, micros):
    assert run(Async(timeout=timeout)) == Waiting(timeout=micros)


@pytest.mark.parametrize(("timeout", "word"), [(-1, "negative"), ("soon", "soon"), (True, "True")])
def test_a_timeout_that_is_none_is_a_failed_attempt(timeout, word):
    answer = run(Async(timeout=timeout))
    assert (type(answer), answer.retry, "charge" in answer.message, word in answer.message) == (
        Failed,
        False,
        True,
        True,
    )


def test_a_timeout_needs_the_event():
    assert "does not declare the event 'timeout'" in run(Async(timeout=1), events=("ok",)).message


def test_an_error_is_a_failed_attempt():
    answer = run(Error("no stock"))
    assert (answer.kind, answer.reason, answer.message, answer.retry) == ("error", "no stock", "no stock", True)
    assert (answer.stacktrace, answer.text, type(answer.error)) == (None, None, StepFailedError)


def test_an_error_may_ask_for_no_further_attempt():
    assert run(Error("no stock", retry=False)).retry is False


@pytest.mark.parametrize("retry", [0, 1, None, "no"])
def test_an_error_says_true_or_false_to_further_attempts(retry):
    failed = run(Error("no stock", retry=retry))
    assert failed.message.endswith(
        f"gave Error with retry={retry!r} ({type(retry).__name__}), which must be True or False"
    )
    assert failed.retry is False


def test_the_failure_of_an_error_names_no_exception():
    assert run(Error("no stock")).failure == {
        "kind": "error",
        "type": "Error",
        "message": "no stock",
        "stacktrace": None,
    }


def test_raising_is_failing():
    answer = run(None, execute=raising(ValueError("no")))
    assert (answer.kind, answer.message, answer.retry, answer.error) == ("error", "no", True, answer.reason)
    assert answer.failure["type"] == "ValueError"
    assert "ValueError: no" in answer.text


def test_the_frames_of_a_failure_begin_in_the_step():
    assert [frame.name for frame in run(None, execute=raising(ValueError("no"))).stacktrace] == ["execute"]


def test_a_failure_may_forbid_further_attempts():
    class OutOfStockError(NonRetryableError):
        pass

    assert run(None, execute=raising(OutOfStockError("no"))).retry is False


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("x"), "error"), (SystemExit(1), "exit"), (Revoked("x"), "exit"), (KeyboardInterrupt(), "throw")],
    ids=shown,
)
def test_the_kind_of_a_failure_follows_from_what_was_raised(error, kind):
    answer = run(None, execute=raising(error), stop_exceptions=(Revoked,))
    assert (answer.kind, isinstance(answer.error, Exception)) == (kind, True)


@pytest.mark.parametrize("answer", [None, "okay", {"event": "ok"}, 1, Ok], ids=shown)
def test_anything_else_is_a_failed_attempt_that_names_the_step_and_the_value(answer):
    message = run(answer).message
    assert ("charge" in message, repr(answer) in message) == (True, True)


@pytest.mark.parametrize("event", ["unheard", "OK", "", None, 1, ["ok"]], ids=shown)
def test_an_event_that_the_step_does_not_declare_is_a_failed_attempt(event):
    answer = run(Ok(event))
    assert (type(answer), "charge" in answer.message, repr(event) in answer.message) == (Failed, True, True)


@pytest.mark.parametrize("field", ["context", "metadata"])
@pytest.mark.parametrize("value", [[1], {1: 2}, {"a": object()}, "text", {"a": {"b": {1, 2}}}], ids=shown)
def test_updates_that_can_not_be_carried_are_a_failed_attempt(field, value):
    answer = run(Ok("ok", **{field: value}))
    assert (type(answer), f"step charge (Charge): {field}" in answer.message) == (Failed, True)


def test_updates_that_are_too_large_are_a_failed_attempt():
    answer = run(Ok("ok", {"a": "x" * 2000}))
    assert (type(answer), "step charge (Charge): context" in answer.message) == (Failed, True)


@pytest.mark.parametrize(
    "answer",
    [None, "unheard", 1, {"event": "ok"}, Ok("unheard"), Ok(["ok"]), Ok("ok", [1]), Ok("ok", {"a": object()}),
     Ok("ok", metadata={"a": (1,)}), Ok("ok", {"a": "x" * 2000}), Async(timeout="soon"), Async(timeout=-1)],
    ids=shown,
)  # fmt: skip
def test_an_answer_that_breaks_the_contract_is_not_tried_again(answer):
    assert run(answer, events=("ok", "timeout")).retry is False


def test_an_answer_whose_own_code_fails_may_be_tried_again():
    class Remote(dict):
        def items(self):
            raise ConnectionError("away")

    answer = run(Ok("ok", Remote(a=1)))
    assert (answer.retry, answer.failure["type"]) == (True, "ConnectionError")


def test_what_was_raised_is_tried_again_whatever_its_type():
    assert run(None, execute=raising(TypeError("no"))).retry is True


def test_the_history_names_the_type_of_what_was_raised_and_not_of_what_was_answered():
    answers = [run(None, execute=raising(error)) for error in (KeyError("x"), TimeoutError(), asyncio.QueueFull())]
    answers += run(Error("no stock")), lost("step a: gone"), stuck("a")
    assert [answer.account for answer in answers][:5] == [
        "KeyError: 'x'",
        "TimeoutError",
        "asyncio.queues.QueueFull",
        "no stock",
        "step a: gone",
    ]
    assert answers[5].account.startswith("nothing is left to do")


def test_a_reason_that_can_not_be_shown_costs_no_more_than_its_text():
    class Mute:
        def __str__(self):
            raise ValueError("no words")

    assert run(Error(Mute())).message == "a Mute whose str() raised ValueError"


def test_an_exception_that_can_not_be_shown_is_a_failed_attempt():
    class MuteError(Exception):
        def __str__(self):
            raise ValueError("no words")

    assert run(None, execute=raising(MuteError())).message == "a MuteError whose str() raised ValueError"


def test_a_long_reason_is_cut():
    assert len(run(Error("x" * 100_000)).message) < 40_000


def test_a_long_traceback_keeps_its_beginning_and_its_end():
    text = run(None, execute=raising(ValueError("x" * 100_000 + "end"))).text
    assert len(text) < 40_000
    assert (text.startswith("Traceback"), text.rstrip().endswith("end")) == (True, True)


def test_a_lost_attempt_is_an_exit_that_may_be_tried_again():
    answer = lost("step a: lease expired")
    assert (answer.kind, answer.retry, type(answer.error), answer.message) == (
        "exit",
        True,
        AttemptLostError,
        "step a: lease expired",
    )


def test_a_stuck_run_is_not_tried_again():
    answer = stuck("a")
    assert (answer.retry, "after step a" in answer.message) == (False, True)


def test_a_failure_that_was_never_raised_has_no_frames():
    assert failed(ValueError("no")).stacktrace == []
