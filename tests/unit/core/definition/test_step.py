"""Behaviour 2.1: what a step declares."""

from __future__ import annotations

from datetime import timedelta

import pytest
from defining import A, a_step, define, problems_of

from hephaestus_celery import Done, Ok, RetryPolicy, Step
from hephaestus_celery.core.values.formatting import shown


def problems_of_step(step):
    event = step.events[0]
    return problems_of(initial_step=step, transitions={(step, event): Done})


def is_fine(step):
    return define(initial_step=step, transitions={(step, step.events[0]): Done}).graph.initial.step is step


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ValidateOrder", "validate_order"),
        ("Charge", "charge"),
        ("HTTPCheck", "http_check"),
        ("HTTPCheck2", "http_check2"),
        ("Step2Fast", "step2_fast"),
        ("already_snake", "already_snake"),
    ],
)
def test_the_key_is_the_class_name_in_snake_case(name, key):
    assert a_step(name, "ok").key == key


def test_a_key_that_is_set_is_kept():
    assert a_step("Charge", "ok", key="charge_card").key == "charge_card"


def test_a_subclass_has_a_key_of_its_own():
    parent = a_step("Parent", "ok", key="special")
    assert type("ChildStep", (parent,), {}).key == "child_step"


def test_a_named_step_has_that_key():
    assert A.named("cooling_off").key == "cooling_off"


def test_a_named_step_is_a_subclass():
    assert issubclass(A.named("cooling_off"), A)


def test_a_named_step_keeps_the_events():
    assert A.named("cooling_off").events == ("ok",)


def test_a_step_that_declares_no_event_has_the_event_ok():
    assert (Step.events, is_fine(type("Plain", (Step,), {"execute": A.execute}))) == (("ok",), True)


def test_events_may_be_a_list():
    assert is_fine(type("Listed", (Step,), {"events": ["ok"], "execute": A.execute}))


@pytest.mark.parametrize("events", ["ok", {"ok": 1}, 5, {"ok"}])
def test_events_that_are_no_tuple_or_list_are_a_problem(events):
    step = type("Odd", (Step,), {"events": events, "execute": A.execute})
    assert problems_of(initial_step=step, transitions={(step, "ok"): Done}) == (
        f"step Odd: events must be a tuple or list of names, not {events!r}",
    )


@pytest.mark.parametrize("event", ["", "a b", "a|b", "a\n", "x" * 101, 5, None, "\x00"])
def test_an_event_that_is_no_name_is_a_problem(event):
    assert problems_of_step(a_step("Odd", "ok", event)) == (
        f"step Odd: {shown(event)} can't name an event (a string of 1 to 100 characters without white space or |)",
    )


@pytest.mark.parametrize("event", ["a", "x" * 100, "besteld-äöü", "a.b:c"])
def test_an_event_may_have_any_name_without_white_space(event):
    assert is_fine(a_step("Odd", event))


def test_an_event_declared_twice_is_a_problem():
    assert problems_of_step(a_step("Odd", "ok", "ok")) == ("step Odd: events has a name twice: ('ok', 'ok')",)


@pytest.mark.parametrize("key", ["", "a b", "a|b", "a\n", "a\x85", "x" * 201, 5, None])
def test_a_key_that_is_no_name_is_a_problem(key):
    assert problems_of_step(a_step("Odd", "ok", key=key)) == (
        f"step Odd: {shown(key)} can't be its key (a string of 1 to 200 printable characters without white space or |)",
    )


def test_a_retry_that_is_no_policy_is_a_problem():
    assert problems_of_step(a_step("Odd", "ok", retry=3)) == ("step Odd: retry must be a RetryPolicy or None, not 3",)


def test_a_retry_may_be_a_policy():
    assert is_fine(a_step("Fine", "ok", retry=RetryPolicy(max_attempts=1)))


@pytest.mark.parametrize("limit", ["5", True, [], float("nan"), float("inf")])
def test_a_time_limit_that_is_no_duration_is_a_problem(limit):
    assert problems_of_step(a_step("Odd", "ok", time_limit=limit)) == (
        f"step Odd: time_limit must be seconds or a timedelta, not {limit!r}",
    )


@pytest.mark.parametrize("limit", [0, -1, timedelta(0), timedelta(seconds=-1)])
def test_a_time_limit_of_nothing_is_a_problem(limit):
    assert problems_of_step(a_step("Odd", "ok", time_limit=limit)) == (
        f"step Odd: time_limit must be more than nothing, not {limit!r}",
    )


@pytest.mark.parametrize("limit", [None, 1, 0.5, timedelta(minutes=1)])
def test_a_time_limit_is_seconds_or_a_timedelta(limit):
    assert is_fine(a_step("Fine", "ok", time_limit=limit))


@pytest.mark.parametrize("queue", ["", 5, b"queue", "two\nlines", "\ud800", "q" * 256])
def test_a_queue_that_is_no_name_is_a_problem(queue):
    assert problems_of_step(a_step("Odd", "ok", queue=queue)) == (
        f"step Odd: queue must be the name of a queue (1 to 255 printable characters) or None, not {shown(queue)}",
    )


@pytest.mark.parametrize("priority", ["high", 1.5, True, -1, 256, 2**70])
def test_a_priority_that_no_broker_knows_is_a_problem(priority):
    assert problems_of_step(a_step("Odd", "ok", priority=priority)) == (
        f"step Odd: priority must be an int from 0 to 255 or None, not {priority!r}",
    )


def test_queue_and_priority_may_be_set():
    assert is_fine(a_step("Fine", "ok", queue="slow", priority=0))


def test_all_problems_of_a_step_are_listed():
    assert len(problems_of_step(a_step("Odd", "ok", key="", retry=1, time_limit=0, queue="", priority="x"))) == 5


def test_a_step_without_execute_says_so():
    with pytest.raises(NotImplementedError, match="Step has no execute"):
        Step().execute(None, None, None)


def test_a_step_resumes_with_the_events_that_it_declares():
    assert a_step("Choice", "yes", "no").resume_events(None) == {"yes": "yes", "no": "no"}


def test_a_steps_config_is_stored_as_it_is():
    assert A.plain_config({"a": 1}) == {"a": 1}


def test_ok_needs_nothing_but_an_event():
    assert (Ok("ok").context, Ok("ok").metadata) == (None, None)
