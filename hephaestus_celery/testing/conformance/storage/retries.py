"""Tests of retries: another attempt follows a failed one when its backoff is over."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.storage.claims import Refusal, Refused
from hephaestus_celery.storage.due import DueEntry

HOUR = 3_600_000_000


@pytest.fixture
def backing_off(stand):
    """A run whose first attempt has failed and whose second is not due for an hour."""
    run = stand.start()
    run.claim("a")
    run.retry("a", delay=HOUR)
    return run


@pytest.fixture
def retry_due(stand):
    """A run whose first attempt has failed and whose second is due."""
    run = stand.start()
    run.claim("a")
    run.retry("a")
    return run


# Retries


def test_a_retry_is_applied_and_the_run_goes_on(stand):
    run = stand.start()
    run.claim("a")
    commitment = run.retry("a")
    assert (commitment.verdict, commitment.status_before, commitment.status_after, commitment.active) == (
        Verdict.APPLIED,
        Status.RUNNING,
        Status.RUNNING,
        1,
    )
    assert (list(commitment.dispatches), commitment.resumed, commitment.finished_at) == ([], False, None)


def test_a_retry_reserves_one_number_and_ticks_no_engine(stand):
    run = stand.start()
    run.claim("a")
    commitment = run.retry("a")
    assert (commitment.sequence, commitment.advance) == (4, 1)


def test_a_failed_attempt_is_in_the_history_as_retrying(backing_off):
    [entry] = backing_off.history()
    assert (entry.sequence, entry.outcome) == (4, "retrying")
    assert entry.queued_at <= entry.started_at <= entry.finished_at


def test_a_step_between_attempts_is_active_and_backs_off(backing_off):
    step = backing_off.load().steps["a"]
    assert (step.status, step.backing_off, step.attempt, step.dispatch) == (StepStatus.ACTIVE, True, 2, 2)


def test_a_step_between_attempts_is_held_by_nobody(backing_off):
    step = backing_off.load().steps["a"]
    assert (step.fence, step.holder, step.deadline) == (None, None, None)


def test_the_next_attempt_is_queued_when_its_backoff_is_over(backing_off):
    [entry] = backing_off.history()
    assert backing_off.load().steps["a"].queued_at == backing_off.due()["a"] == entry.finished_at + HOUR


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_no_attempt_of_a_backing_off_step_can_be_claimed(backing_off, attempt):
    assert backing_off.claim("a", attempt) == Refusal(reason=Refused.STALE)


def test_before_its_time_a_retry_is_not_dispatched(backing_off, stand):
    assert list(stand.tick().entries) == []


def test_a_tick_says_how_long_it_is_until_the_next_entry(backing_off, stand, storage):
    before = storage.now()
    left = stand.tick().next_in
    assert backing_off.due()["a"] - storage.now() <= left <= backing_off.due()["a"] - before


def test_a_retry_that_is_due_is_dispatched(retry_due, stand):
    assert list(stand.tick().entries) == [
        DueEntry(
            kind=Due.RETRY,
            run_id=retry_due.id,
            name="shop.Order",
            version=1,
            dispatch=DispatchStep(Activation("a"), 2, 2),
            sequence=0,
        )
    ]


def test_a_retry_is_dispatched_once(retry_due, stand):
    stand.entries(1)
    stand.calm()


def test_a_dispatched_retry_is_due_after_the_dispatch_timeout(retry_due, stand, storage):
    before = storage.now()
    stand.entries(1)
    assert before + 30_000_000 <= retry_due.due()["a"] <= storage.now() + 30_000_000


def test_a_dispatched_retry_can_be_claimed_as_the_next_attempt(retry_due, stand):
    stand.entries(1)
    claim = retry_due.claim("a", 2)
    assert (claim.run.steps["a"].attempt, claim.first, claim.sequence) == (2, False, 5)


def test_the_message_of_an_attempt_that_failed_is_stale(retry_due, stand):
    stand.entries(1)
    assert retry_due.claim("a", 1) == Refusal(reason=Refused.STALE)


def test_a_retried_step_completes_like_any_other(retry_due, stand):
    stand.entries(1)
    retry_due.claim("a", 2)
    assert list(retry_due.complete("a").activated) == ["b"]
    assert [entry.outcome for entry in retry_due.history()] == ["retrying", "completed"]


def test_attempts_are_counted_on(retry_due, stand):
    for attempt in (2, 3, 4):
        stand.entries(1)
        retry_due.claim("a", attempt)
        retry_due.retry("a")
    assert [entry.dispatch for entry in stand.entries(1)] == [DispatchStep(Activation("a"), 5, 5)]


def test_the_late_answer_of_an_attempt_that_failed_is_stale(stand):
    run = stand.start()
    run.claim("a", fence="old")
    run.retry("a")
    assert run.complete("a", operation="late").verdict is Verdict.STALE
    stand.entries(1)
    run.claim("a", 2, fence="new")
    assert run.complete("a", fence="old", operation="later").verdict is Verdict.STALE


def test_a_retry_under_another_fence_changes_nothing(stand):
    run = stand.start()
    run.claim("a")
    before = run.load(), run.due(), list(run.history())
    assert run.retry("a", fence="foreign", operation="foreign").verdict is Verdict.STALE
    assert (run.load(), run.due(), list(run.history())) == before


def test_a_retry_after_the_end_is_discarded_with_a_number(stand):
    run = stand.start()
    run.claim("a")
    run.cancel()  # number 4
    commitment = run.retry("a")
    assert (commitment.verdict, commitment.sequence) == (Verdict.DISCARDED, 5)
    assert [entry.outcome for entry in run.history()] == ["", "discarded"]
    assert run.due() == {}


def test_a_retry_of_an_applied_event_applies_it_again(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go", '{"n":1}')
    run.claim("a")
    run.retry("a")
    assert [entry.kind for entry in stand.entries(1)] == [Due.RETRY]
    claim = run.claim("a", 2)
    assert (claim.data, claim.resume.event) == ('{"n":1}', "ok")
    assert run.complete("a").verdict is Verdict.APPLIED


def test_a_retry_of_an_applied_event_was_queued_when_it_was_delivered(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    delivered = run.load().steps["a"].resume.at
    run.claim("a")
    run.retry("a")
    assert run.history()[-1].queued_at == delivered


def test_a_run_that_ends_while_a_step_backs_off_has_nothing_due(backing_off):
    backing_off.cancel()
    assert backing_off.due() == {}


def test_what_comes_due_has_no_number_where_nothing_is_emitted(retry_due, stand):
    [entry] = stand.tick().entries
    assert entry.sequence == 0
    assert retry_due.claim("a", 2).sequence == 5
