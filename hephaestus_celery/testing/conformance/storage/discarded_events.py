"""Tests of discarded events: one that does not fit its step is dropped with its key, and the step waits on."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status, StepStatus

TIMEOUT = 5_000_000


@pytest.fixture
def checking(stand):
    """A run whose step waits, with a timeout, and may drop events."""
    run = stand.start()
    run.wait_at("a", checks=True, timeout=TIMEOUT)
    return run


def test_a_discarded_event_leaves_the_step_waiting_as_it_was(checking):
    before, due = checking.load().steps["a"], checking.due()
    checking.deliver("go", key="evt_1")
    checking.claim("a")
    commitment = checking.discard("a")
    assert (commitment.verdict, commitment.status_after, commitment.active) == (Verdict.APPLIED, Status.WAITING, 0)
    assert (commitment.resumed, list(commitment.dispatches)) == (False, [])
    after = checking.load().steps["a"]
    assert (after.status, after.resume, after.fence) == (StepStatus.WAITING, None, None)
    assert (after.waiting_since, after.accepts, after.attempt) == (before.waiting_since, before.accepts, before.attempt)
    assert checking.due() == due, "its timeout is as it was"


def test_a_discarded_event_is_in_the_history(checking):
    checking.deliver("go")
    checking.claim("a")
    commitment = checking.discard("a")
    entry = checking.history()[-1]
    assert (entry.outcome, entry.sequence) == ("discarded", commitment.sequence)


def test_the_key_of_a_discarded_event_may_come_again(checking):
    checking.deliver("go", key="evt_1")
    checking.claim("a")
    assert checking.deliver("go", key="evt_1").outcome is Delivered.REPEATED
    checking.discard("a")
    assert checking.deliver("go", '{"x":2}', key="evt_1").outcome is Delivered.ACCEPTED
    assert checking.claim("a").data == '{"x":2}'


def test_a_step_takes_another_event_after_it_has_discarded_one(checking):
    checking.deliver("go")
    checking.claim("a")
    checking.discard("a")
    assert checking.deliver("go", '{"x":2}').outcome is Delivered.ACCEPTED
    checking.claim("a")
    assert checking.complete("a").verdict is Verdict.APPLIED


def test_an_early_event_follows_a_discarded_one(stand):
    run = stand.start()
    run.deliver("go", '{"x":1}', keep=True, key="evt_1")
    run.deliver("go", '{"x":2}', keep=True, key="evt_2")
    assert run.wait_at("a", checks=True).resumed
    assert run.claim("a").data == '{"x":1}'
    commitment = run.discard("a")
    assert (commitment.resumed, len(commitment.dispatches)) == (True, 1)
    assert run.claim("a").data == '{"x":2}'
    assert run.deliver("go", key="evt_1", keep=True).outcome is Delivered.KEPT
    assert run.deliver("go", key="evt_2", keep=True).outcome is Delivered.REPEATED


def test_a_timer_that_comes_due_before_the_event_is_discarded_is_not_lost(stand, checking):
    checking.deliver("go")
    checking.claim("a")
    checking.schedule("a")
    stand.calm()
    commitment = checking.discard("a")
    assert (commitment.resumed, len(commitment.dispatches)) == (True, 1)
    resume = checking.load().steps["a"].resume
    assert (resume.event, resume.source) == ("timeout", "timeout")


def test_a_timer_that_comes_due_before_a_fitting_event_is_applied_means_nothing(stand, checking):
    checking.deliver("go")
    checking.claim("a")
    checking.schedule("a")
    stand.calm()
    assert checking.complete("a").verdict is Verdict.APPLIED
    assert checking.load().steps["a"].event == "ok"
    stand.calm()


def test_discarding_again_gets_the_first_reply(checking):
    checking.deliver("go")
    checking.claim("a")
    first = checking.discard("a")
    assert checking.discard("a") == first
    assert len(checking.history()) == 2


def test_a_foreign_worker_discards_nothing(checking):
    checking.deliver("go")
    checking.claim("a")
    checking.fences["a"] = "another"
    assert checking.discard("a").verdict is Verdict.STALE
    assert checking.load().steps["a"].resume is not None


def test_an_event_that_is_discarded_after_the_end_changes_nothing(checking):
    checking.deliver("go")
    checking.claim("a")
    checking.cancel()
    assert checking.discard("a").verdict is Verdict.DISCARDED
    assert checking.load().status is Status.CANCELLED
