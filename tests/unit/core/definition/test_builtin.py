"""Behaviour 2.2: the steps that come with the package."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from defining import A, define, problems_of

from hephaestus_celery import Async, Context, Debug, Done, Instance, Ok, Status, Wait, WaitForEvent
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import StepState

RECEIVED = {(WaitForEvent, "received"): Done}
TIMEOUT = {(WaitForEvent, "timeout"): Done}
UNITS = "second, minute, hour, day"


def problems_of_wait(config):
    return problems_of(initial_step=(Wait, config), transitions={(Wait, "timeout"): Done})


def wait_of(config):
    flow = define(initial_step=(Wait, config), transitions={(Wait, "timeout"): Done})
    stored = Wait.plain_config(flow.graph.initial.config)
    return Wait().execute(None, Wait.restored_config(stored), Context())


def problems_of_event(config, transitions):
    return problems_of(initial_step=(WaitForEvent, config), transitions=transitions)


def test_done_has_the_one_event_done():
    assert Done.events == ("done",)


def test_done_has_the_key_done():
    assert Done.key == "done"


def test_done_is_a_step_that_answers_done():
    assert Done().execute(None, None, Context()) == Ok("done")


def test_a_subclass_of_done_is_no_end():
    finish = Done.named("finish")
    (problem,) = problems_of(initial_step=A, transitions={(A, "ok"): finish})
    assert problem.endswith("is a leaf but not Done: its events ('done') have no transition")


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"duration": 5, "unit": "second"}, timedelta(seconds=5)),
        ({"duration": 5, "unit": "minute"}, timedelta(minutes=5)),
        ({"duration": 5, "unit": "hour"}, timedelta(hours=5)),
        ({"duration": 5, "unit": "day"}, timedelta(days=5)),
        ({"duration": 0, "unit": "second"}, timedelta(0)),
        ({"duration": timedelta(days=2, microseconds=3)}, timedelta(days=2, microseconds=3)),
        ({"duration": timedelta(0)}, timedelta(0)),
        ({"duration": 5}, timedelta(seconds=5)),
        ({"duration": 0.25}, timedelta(milliseconds=250)),
    ],
)
def test_a_wait_suspends_for_its_duration(config, length):
    assert wait_of(config) == Async(timeout=length)


def test_a_wait_gives_timeout():
    assert Wait.events == ("timeout",)


def test_a_wait_of_a_timedelta_is_stored_as_json_and_read_as_it_was_given():
    given = {"duration": timedelta(milliseconds=1)}
    stored = Wait.plain_config(given)
    assert stored == {"duration": 1000, "unit": "microsecond"}
    assert Wait.restored_config(stored) == given
    assert Wait.restored_config({"duration": 5, "unit": "day"}) == {"duration": 5, "unit": "day"}


@pytest.mark.parametrize("unit", ["week", "seconds", "microsecond", None, 5, "", ["second"]])
def test_a_wait_in_another_unit_is_a_problem(unit):
    assert problems_of_wait({"duration": 5, "unit": unit}) == (f"Wait: unit must be one of {UNITS}, not {unit!r}",)


@pytest.mark.parametrize("duration", ["5", True, None, [5]])
def test_a_wait_without_a_unit_takes_seconds_or_a_timedelta(duration):
    assert problems_of_wait({"duration": duration}) == (
        f"Wait: duration must be seconds or a timedelta, not {duration!r}",
    )


@pytest.mark.parametrize("duration", [-1, timedelta(microseconds=-1)])
def test_a_wait_of_a_negative_duration_is_a_problem(duration):
    assert problems_of_wait({"duration": duration}) == (f"Wait: duration must not be negative: {duration!r}",)


def test_a_wait_of_a_negative_number_of_units_is_a_problem():
    assert problems_of_wait({"duration": -1, "unit": "day"}) == ("Wait: duration must not be negative: -1",)


@pytest.mark.parametrize("duration", [1.5, "5", True, None, [5]])
def test_a_wait_of_a_duration_that_is_no_int_is_a_problem(duration):
    assert problems_of_wait({"duration": duration, "unit": "second"}) == (
        f"Wait: duration must be an int where it has a unit, not {duration!r}",
    )


def test_a_wait_longer_than_time_itself_is_a_problem():
    assert problems_of_wait({"duration": 10**12, "unit": "day"}) == (f"Wait: duration is too long: {10**12} days",)


def test_a_timedelta_with_a_unit_is_a_problem():
    assert problems_of_wait({"duration": timedelta(1), "unit": "day"}) == (
        "Wait: a duration that is a timedelta takes no unit ('day')",
    )


@pytest.mark.parametrize("config", [None, {}])
def test_a_wait_without_a_duration_is_a_problem(config):
    assert problems_of_wait(config) == (
        "Wait: config needs a duration (seconds or a timedelta, or an int with a unit)",
    )


def test_a_bare_wait_is_a_problem():
    assert problems_of(initial_step=A, transitions={(A, "ok"): Wait, (Wait, "timeout"): Done}) == (
        "Wait: config needs a duration (seconds or a timedelta, or an int with a unit)",
    )


def test_a_wait_with_an_unknown_key_is_a_problem():
    assert problems_of_wait({"duration": 5, "unit": "day", "units": 1}) == (
        "Wait: config has the unknown key 'units' (known: duration, unit)",
    )


def test_a_wait_whose_config_is_no_mapping_is_a_problem():
    assert problems_of_wait(5) == ("Wait: config must be a mapping with string keys, not 5 (int)",)


def test_a_wait_for_an_event_suspends_without_end():
    assert WaitForEvent().execute(None, {"event_name": "paid"}, Context()) == Async()


def test_a_wait_for_an_event_suspends_until_its_timeout():
    config = {"event_name": "paid", "timeout_ms": 1500}
    assert WaitForEvent().execute(None, config, Context()) == Async(timeout=timedelta(milliseconds=1500))


def test_a_timeout_of_no_milliseconds_is_a_timeout():
    config = {"event_name": "paid", "timeout_ms": 0}
    assert WaitForEvent().execute(None, config, Context()) == Async(timeout=timedelta(0))


def test_a_wait_for_an_event_is_resumed_by_that_name_with_received():
    assert WaitForEvent.resume_events({"event_name": "paid"}) == {"paid": "received"}


def test_a_wait_for_an_event_without_config_is_resumed_by_nothing():
    assert WaitForEvent.resume_events(None) == {}


@pytest.mark.parametrize("name", [None, "", 5, "two words", "a|b"])
def test_an_event_name_that_is_no_name_is_a_problem(name):
    assert problems_of_event({"event_name": name, "timeout_ms": 1}, RECEIVED | TIMEOUT) == (
        f"WaitForEvent: config needs an event_name (a string of 1 to 100 characters without white space or |), not {name!r}",
    )


def test_a_wait_for_an_event_without_config_is_a_problem():
    assert (
        "WaitForEvent: config needs an event_name (a string of 1 to 100 characters without white space or |), not None"
        in problems_of_event(None, RECEIVED)
    )


@pytest.mark.parametrize("timeout", [-1, 1.5, "5", True])
def test_a_timeout_that_is_no_number_of_milliseconds_is_a_problem(timeout):
    assert problems_of_event({"event_name": "paid", "timeout_ms": timeout}, RECEIVED | TIMEOUT) == (
        f"WaitForEvent: timeout_ms must be a number of milliseconds (an int, not negative), not {timeout!r}",
    )


def test_a_timeout_longer_than_time_itself_is_a_problem():
    assert problems_of_event({"event_name": "paid", "timeout_ms": 10**20}, RECEIVED | TIMEOUT) == (
        f"WaitForEvent: timeout_ms is too long: {10**20}",
    )


def test_a_wait_for_an_event_with_an_unknown_key_is_a_problem():
    assert problems_of_event({"event_name": "paid", "timeouts": 5}, RECEIVED) == (
        "WaitForEvent: config has the unknown key 'timeouts' (known: event_name, timeout, timeout_ms)",
    )


@pytest.mark.parametrize(
    ("timeout", "length"),
    [(5, timedelta(seconds=5)), (0.5, timedelta(milliseconds=500)), (timedelta(hours=1), timedelta(hours=1))],
)
def test_a_wait_for_an_event_takes_its_timeout_in_seconds_or_as_a_timedelta(timeout, length):
    config = {"event_name": "paid", "timeout": timeout}
    define(initial_step=(WaitForEvent, config), transitions=RECEIVED | TIMEOUT)  # raises nothing
    assert WaitForEvent().execute(None, config, None) == Async(timeout=length)
    assert WaitForEvent.events_for(config) == ("received", "timeout")


def test_a_timeout_that_is_a_timedelta_is_stored_as_json_and_read_as_it_was_given():
    given = {"event_name": "paid", "timeout": timedelta(milliseconds=1)}
    stored = WaitForEvent.plain_config(given)
    assert stored == {"event_name": "paid", "timeout": 1000, "unit": "microsecond"}
    assert WaitForEvent.restored_config(stored) == given
    assert WaitForEvent.events_for(stored) == ("received", "timeout")
    assert WaitForEvent.restored_config({"event_name": "paid", "timeout": 5}) == {"event_name": "paid", "timeout": 5}


@pytest.mark.parametrize(
    ("timeout", "problem"),
    [
        ("5", "timeout must be seconds or a timedelta, not '5'"),
        (True, "timeout must be seconds or a timedelta, not True"),
        (-1, "timeout must not be negative: -1"),
        (timedelta(-1), f"timeout must not be negative: {timedelta(-1)!r}"),
    ],
)
def test_a_timeout_that_is_no_duration_is_a_problem(timeout, problem):
    assert problems_of_event({"event_name": "paid", "timeout": timeout}, RECEIVED | TIMEOUT) == (
        f"WaitForEvent: {problem}",
    )


def test_two_timeouts_of_one_wait_are_a_problem():
    assert problems_of_event({"event_name": "paid", "timeout": 5, "timeout_ms": 5}, RECEIVED | TIMEOUT) == (
        "WaitForEvent: timeout (5) and timeout_ms (5) say the same; give one of them",
    )


def test_a_wait_for_an_event_whose_config_is_no_mapping_is_a_problem():
    assert "WaitForEvent: config must be a mapping with string keys, not 5 (int)" in problems_of_event(5, RECEIVED)


def test_a_timeout_needs_a_transition():
    assert problems_of_event({"event_name": "paid", "timeout_ms": 5}, RECEIVED) == (
        "WaitForEvent declares the event 'timeout', which has no transition",
    )


def test_without_a_timeout_its_transition_is_a_problem():
    assert problems_of_event({"event_name": "paid"}, RECEIVED | TIMEOUT) == (
        "WaitForEvent never gives 'timeout' with its config, so that event must not have a transition",
    )


def test_received_needs_a_transition():
    assert problems_of_event({"event_name": "paid", "timeout_ms": 5}, TIMEOUT) == (
        "WaitForEvent declares the event 'received', which has no transition",
    )


def test_without_a_timeout_received_is_enough():
    assert define(initial_step=(WaitForEvent, {"event_name": "paid"}), transitions=RECEIVED).graph.edges


def test_with_a_timeout_both_events_are_needed_and_enough():
    config = {"event_name": "paid", "timeout_ms": 5}
    assert define(initial_step=(WaitForEvent, config), transitions=RECEIVED | TIMEOUT).graph.edges


@pytest.fixture
def instance():
    return Instance(
        id="orderid::a1",
        run_id="0190f0f0-0000-7000-8000-000000000001",
        workflow_name="shop.Flow",
        workflow_version=1,
        workflow_family="shop.Flow",
        status=Status.RUNNING,
        context=Context(initial={"items": 3}, steps={"a": {"weight": 9}}),
        step_states={"a": StepState(status=StepStatus.COMPLETED, event="ok", order=4)},
        started_at=datetime(2024, 1, 1, tzinfo=UTC),
    )


def debugged(instance, caplog):
    with caplog.at_level(logging.DEBUG, logger="hephaestus_celery.debug"):
        result = Debug().execute(instance, None, instance.context)
    return result, [record.getMessage() for record in caplog.records]


def test_debug_answers_completed(instance, caplog):
    assert debugged(instance, caplog)[0] == Ok("completed")


def test_debug_logs_context_results_and_history(instance, caplog):
    assert debugged(instance, caplog)[1] == [
        "[orderid::a1] initial context: {'items': 3}",
        "[orderid::a1] result of a: {'weight': 9}",
        "[orderid::a1] history: a completed (attempt 1, event ok)",
    ]


def test_debug_logs_at_the_level_debug(instance, caplog):
    debugged(instance, caplog)
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


def test_debug_has_little_to_say_of_a_run_that_just_began(instance, caplog):
    instance = replace(instance, context=Context(), step_states={})
    assert debugged(instance, caplog)[1] == ["[orderid::a1] initial context: {}"]
