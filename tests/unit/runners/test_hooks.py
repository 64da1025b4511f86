"""Hooks: what an application enters around each attempt, and adds to the headers of a run that it starts."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from contextvars import ContextVar

import pytest
from defining import define

from hephaestus_celery import Done, Error, Ok, Step
from hephaestus_celery.config import Settings
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.hooks import MOST_BYTES, Hooks
from hephaestus_celery.runners.local import LocalRunner
from hephaestus_celery.storage.memory import MemoryStorage
from tests.support.starting import create

SEEN: ContextVar[str] = ContextVar("SEEN", default="nothing")


class StopError(Exception):
    """How the pool of these tests interrupts a step."""


@pytest.fixture
def hooks():
    return Hooks()


@pytest.fixture
def drive(hooks):
    """``drive(execute)``: a run of one step, driven to its end; gives the outcome of its attempt."""
    drivers = []

    def run(execute):
        step = type("Only", (Step,), {"key": "only", "events": ("ok",), "execute": execute})
        flow = define(initial_step=step, transitions={(step, "ok"): Done})
        driver = Driver(storage=MemoryStorage(), settings=Settings(), dispatcher=LocalRunner(), hooks=hooks)
        drivers.append(driver)
        _, [message] = create(driver, flow, id="orderid::a1")
        worker = Worker(stop_exceptions=(StopError,))
        attempt = driver.claim(message.workflow, message.run_id, message.activation, 1, worker=worker)
        outcome = driver.commit(attempt, driver.execute(attempt))
        driver.release(attempt)
        return outcome, attempt, message

    yield run
    for driver in drivers:
        driver.close()


def ok(self, instance, config, context):
    return Ok("ok", {"seen": SEEN.get()})


def noting(notes, name):
    @contextmanager
    def hook(attempt):
        notes.append(f"enter {name} {attempt.step.key} {attempt.number}/{attempt.max_attempts}")
        try:
            yield
        except Exception as error:
            notes.append(f"{name} saw {error}")
            raise
        finally:
            notes.append(f"leave {name}")

    return hook


def setting(attempt):
    @contextmanager
    def manager():
        token = SEEN.set(attempt.instance.id)
        try:
            yield
        finally:
            SEEN.reset(token)

    return manager()


def test_the_first_hook_that_was_added_is_the_outermost(hooks, drive):
    notes = []
    hooks.around_attempt(noting(notes, "a"))
    hooks.around_attempt(noting(notes, "b"))
    outcome, _, _ = drive(ok)
    assert outcome.label == "ok"
    assert notes == ["enter a only 1/5", "enter b only 1/5", "leave b", "leave a"]


def test_a_step_sees_the_contextvars_that_a_hook_has_set(hooks, drive):
    hooks.around_attempt(setting)
    seen = []

    def execute(self, instance, config, context):
        seen.append(SEEN.get())
        return Ok("ok")

    drive(execute)
    assert (seen, SEEN.get()) == (["orderid::a1"], "nothing")


def test_an_async_step_sees_the_contextvars_that_a_hook_has_set(hooks, drive):
    hooks.around_attempt(setting)
    seen = []

    async def execute(self, instance, config, context):
        await asyncio.sleep(0)
        seen.append(SEEN.get())
        return Ok("ok")

    drive(execute)
    assert seen == ["orderid::a1"]


def failing_to_enter(attempt):
    raise RuntimeError("no context today")


@contextmanager
def failing_to_leave(attempt):
    yield
    raise RuntimeError("no end today")


@pytest.mark.parametrize("hook", [failing_to_enter, failing_to_leave])
def test_a_hook_that_raises_is_logged_and_the_step_goes_on(hooks, drive, caplog, hook):
    notes = []
    hooks.around_attempt(hook)
    hooks.around_attempt(noting(notes, "other"))
    with caplog.at_level(logging.ERROR, "hephaestus_celery"):
        outcome, _, _ = drive(ok)
    assert outcome.label == "ok"
    assert notes == ["enter other only 1/5", "leave other"]
    assert [record.message.partition(" the hook ")[0] for record in caplog.records] == ["[orderid::a1]"]


def raising(self, instance, config, context):
    raise ValueError("what the step raised")


def erring(self, instance, config, context):
    return Error("what the step gave as its reason")


@pytest.mark.parametrize(
    ("execute", "reason"), [(raising, "what the step raised"), (erring, "what the step gave as its reason")]
)
def test_a_hook_is_left_with_the_failure_of_its_attempt(hooks, drive, caplog, execute, reason):
    notes = []
    hooks.around_attempt(noting(notes, "a"))
    outcome, _, _ = drive(execute)
    assert outcome.label == "retrying"
    assert notes[1:] == [f"a saw {reason}", "leave a"]
    assert not caplog.records


def test_what_a_hook_returns_on_the_way_out_hides_no_failure(hooks, drive):
    class Swallows:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return True

    hooks.around_attempt(lambda attempt: Swallows())
    outcome, _, _ = drive(raising)
    assert outcome.label == "retrying"


def test_an_interruption_by_the_pool_counts_inside_of_a_hook_too(hooks, drive):
    left = []
    hooks.around_attempt(noting(left, "a"))

    def interrupted(attempt):
        raise StopError("time is over")

    hooks.around_attempt(interrupted)
    outcome, _, _ = drive(ok)
    assert (outcome.label, left[-1]) == ("retrying", "leave a")


def test_an_event_that_is_applied_executes_nothing_and_enters_no_hook(hooks, drive):
    notes = []
    hooks.around_attempt(noting(notes, "a"))
    flow = define(initial_step=Done, transitions={})
    driver = Driver(storage=MemoryStorage(), settings=Settings(), dispatcher=LocalRunner(), hooks=hooks)
    _, [message] = create(driver, flow, id="orderid::a1")
    attempt = driver.claim(message.workflow, message.run_id, message.activation, 1, worker=Worker())
    driver.execute(attempt)
    driver.release(attempt)
    driver.close()
    assert notes == []


def test_what_a_hook_adds_at_the_start_goes_with_every_message_and_is_seen_by_the_attempt(hooks, drive):
    hooks.on_start(lambda headers: headers.update(trace="abc"))
    hooks.on_start(lambda headers: headers.update(tenant=headers["trace"] + "d"))
    _, attempt, message = drive(ok)
    expected = {"trace": "abc", "tenant": "abcd"}
    assert (message.headers, attempt.headers) == (expected, expected)


@pytest.mark.parametrize("bad", [object(), "x" * MOST_BYTES])
def test_what_can_not_be_stored_is_left_out_and_the_run_is_started(hooks, drive, caplog, bad):
    hooks.on_start(lambda headers: headers.update(bad=bad))
    hooks.on_start(lambda headers: headers.update(good=1))
    outcome, attempt, _ = drive(ok)
    assert (outcome.label, attempt.headers) == ("ok", {"good": 1})
    assert ["the hook" in record.message for record in caplog.records] == [True]


def test_a_start_hook_that_raises_fails_no_start(hooks, drive, caplog):
    def refuse(headers):
        headers["half"] = 1
        raise RuntimeError("no trace today")

    hooks.on_start(refuse)
    outcome, attempt, _ = drive(ok)
    assert (outcome.label, attempt.headers) == ("ok", {})
    assert len(caplog.records) == 1
