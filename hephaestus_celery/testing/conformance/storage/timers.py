"""Tests of timers: backoffs, waits and timeouts come due once, at their time, never for what has ended."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus

FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
HOUR = 3_600_000_000


@pytest.fixture
def patient(stand):
    """A run whose step waits, and whose timeout is over."""
    run = stand.start()
    run.wait_at("a", timeout=0)
    return run


def end(run, how):
    """End a run, whose step ``a`` is claimed if it is to be failed."""
    if how == "fail":
        run.fail("a")
    else:
        run.cancel()


# Timeouts


def test_a_timeout_gives_the_waiting_step_the_event_timeout(patient, stand):
    [entry] = stand.tick().entries
    assert (entry.kind, entry.dispatch, entry.sequence) == (Due.TIMEOUT, DispatchStep(Activation("a"), 1, 2), 0)
    resume = patient.load().steps["a"].resume
    assert (resume.event, resume.source) == ("timeout", "timeout")


def test_a_timeout_brings_no_data(patient, stand):
    stand.entries(1)
    claim = patient.claim("a")
    assert (claim.data, claim.resume.event, claim.resume.source) == (None, "timeout", "timeout")


def test_a_timeout_fires_once(patient, stand):
    stand.entries(1)
    stand.calm()


def test_a_timeout_that_was_delivered_is_due_after_the_dispatch_timeout(patient, stand):
    stand.entries(1)
    assert patient.due() == {"a": patient.load().steps["a"].resume.at + 30_000_000}


def test_before_its_time_a_timeout_does_not_fire(stand):
    run = stand.start()
    run.wait_at("a", timeout=HOUR)
    assert list(stand.tick().entries) == []
    assert run.load().steps["a"].resume is None


def test_after_a_timeout_no_event_is_accepted(patient, stand):
    stand.entries(1)
    assert patient.deliver("go").outcome == "not_waiting"


def test_a_timeout_that_was_applied_completes_its_step(patient, stand):
    stand.entries(1)
    patient.claim("a")
    assert list(patient.complete("a").activated) == ["b"]


def test_a_timeout_means_nothing_once_its_step_was_resumed(patient, stand):
    patient.deliver("go")
    assert list(stand.tick().entries) == []
    assert patient.load().steps["a"].resume.source == "external"


def test_a_timeout_means_nothing_once_its_step_was_completed(patient, stand):
    patient.deliver("go")
    patient.step("a")
    assert list(stand.tick().entries) == []
    assert patient.load().steps["a"].status is StepStatus.COMPLETED


def test_a_timeout_means_nothing_once_its_run_has_ended(patient, stand):
    patient.cancel()
    assert list(stand.tick().entries) == []
    assert patient.load().status is Status.CANCELLED


def test_of_two_branches_that_wait_each_has_its_timeout(stand):
    run = stand.start(FORK)
    run.step("a")
    run.wait_at("b", timeout=0)
    run.wait_at("c", timeout=HOUR)
    assert [entry.dispatch.activation.step for entry in stand.tick().entries] == ["b"]
    assert run.load().steps["c"].resume is None


def test_what_comes_due_comes_in_the_order_of_its_time(stand):
    runs = [stand.start(instance_id=f"order::{number}") for number in range(5)]
    for run in reversed(runs):
        run.wait_at("a", timeout=0)
    assert [entry.run_id for entry in stand.entries(5)] == [run.id for run in reversed(runs)]


@pytest.mark.parametrize("how", ["fail", "cancel"])
def test_after_the_end_nothing_of_the_run_is_due(stand, how):
    run = stand.start(FORK)
    run.step("a")
    run.wait_at("b", timeout=HOUR)
    run.schedule("b", reference="one", delay=HOUR)
    run.schedule("c", reference="two", delay=HOUR)
    run.claim("c")
    run.fail("c") if how == "fail" else run.cancel()
    assert run.due() == {}


def test_after_its_completion_nothing_of_a_run_is_due(stand):
    run = stand.start()
    run.schedule("a", reference="one", delay=HOUR)
    run.schedule("b", reference="two", delay=HOUR)
    run.step("a")
    run.step("b")
    assert run.due() == {}


def test_with_nothing_due_there_is_nothing_to_wait_for(stand):
    run = stand.start()
    run.wait_at("a")
    tick = stand.tick()
    assert (tick.held, tick.more, list(tick.entries)) == (True, False, [])
    assert tick.next_in is None or tick.next_in > 23 * HOUR  # a store that may lose runs looks once a day


def test_a_tick_that_has_done_something_still_says_what_comes_next(stand):
    run = stand.start()
    run.wait_at("a", timeout=0)
    tick = stand.tick()
    assert len(tick.entries) == 1
    assert 0 < tick.next_in <= 30_000_000


def test_who_waits_for_what_comes_due_hears_of_a_nearer_timer(stand, storage):
    run = stand.start()
    run.wait_at("a")
    stand.tick()
    storage.await_due(timeout=0)
    stand.tick()
    run.schedule("a", delay=1000)
    assert storage.await_due(timeout=10) is True


def test_who_waits_for_what_comes_due_hears_what_was_set_before(stand, storage):
    run = stand.start()
    run.wait_at("a")
    stand.tick()
    run.schedule("a", delay=1000)
    assert storage.await_due(timeout=10) is True


def test_who_waits_for_what_comes_due_hears_nothing_where_nothing_was_set(stand, storage):
    stand.tick()
    storage.await_due(timeout=0)
    stand.tick()
    assert storage.await_due(timeout=0.01) is False


def test_many_timers_ring_as_one(stand, storage):
    run = stand.start()
    run.wait_at("a")
    storage.await_due(timeout=0)
    stand.tick()
    for number in range(50):
        run.schedule("a", reference=str(number), delay=1000)
    assert storage.await_due(timeout=10) is True
    stand.tick()
    more = 0
    while storage.await_due(timeout=0.1):
        more += 1
    assert more < 5  # what was still under way when the first rang


def test_the_entry_of_a_retry_says_what_was_given(stand):
    run = stand.start()
    run.claim("a")
    run.retry("a", entry=json.dumps({"kind": "attempt", "reason": "no|t\nnow"}))
    assert json.loads(run.history()[-1].detail)["reason"] == "no|t\nnow"
