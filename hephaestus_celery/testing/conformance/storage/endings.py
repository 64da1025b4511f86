"""Tests of ends: failing, cancelling, the history, and waiting for the end."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.exceptions import InstanceNotFoundError

FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}


@pytest.fixture
def forked(stand):
    """A run with two active steps, b and c; b is claimed."""
    run = stand.start(FORK)
    run.step("a")
    run.claim("b")
    return run


def test_a_failed_step_fails_the_run(forked):
    commitment = forked.fail("b", failure='{"kind":"error","message":"no"}')
    stored = forked.load()
    assert (commitment.verdict, commitment.status_before, commitment.status_after) == (
        Verdict.APPLIED,
        Status.RUNNING,
        Status.FAILED,
    )
    assert (stored.status, stored.failed_step, stored.failure) == (
        Status.FAILED,
        "b",
        '{"kind":"error","message":"no"}',
    )


def test_a_failed_step_has_failed_and_the_others_stay_as_they_were(forked):
    forked.fail("b")
    found = {key: step.status for key, step in forked.load().steps.items()}
    assert found == {"a": StepStatus.COMPLETED, "b": StepStatus.FAILED, "c": StepStatus.ACTIVE}


def test_a_failure_reserves_two_numbers(forked):
    assert forked.fail("b").sequence == 8
    assert forked.history()[-1].sequence == 8


def test_a_failure_names_the_end_the_start_and_what_was_completed(forked):
    commitment = forked.fail("b")
    stored = forked.load()
    assert (commitment.finished_at, commitment.start, list(commitment.completed)) == (
        stored.finished_at,
        stored.start,
        ["a"],
    )
    assert (commitment.active, commitment.advance) == (0, 2)


def test_nothing_is_active_or_due_after_a_failure(forked):
    forked.fail("b")
    assert (forked.load().active, forked.due()) == (0, {})


def test_a_cancelled_run_is_cancelled_with_its_reason(stand):
    run = stand.start()
    cancellation = run.cancel("no longer wanted")
    assert cancellation.run == run.load()
    assert (cancellation.run.status, cancellation.run.cancel_reason) == (Status.CANCELLED, "no longer wanted")


@pytest.mark.parametrize("reason", [None, "", "é|\n\x00\ud800"])
def test_any_reason_is_kept(stand, reason):
    run = stand.start()
    run.cancel(reason)
    assert run.load().cancel_reason == reason


def test_a_cancellation_lists_the_steps_being_executed(forked):
    assert list(forked.cancel().held) == ["b"]


def test_a_cancellation_names_whose_task_holds_a_step_and_what_nobody_has_begun_with(stand):
    run = stand.start({("a", "ok"): ["b", "c", "d"], **{(key, "ok"): ["done"] for key in "bcd"}})
    run.step("a")
    run.claim("b", holder="task-of-b")
    run.wait_at("c")
    run.deliver()
    cancelled = run.cancel()
    assert {key: task for key, (task, _) in cancelled.held.items()} == {"b": "task-of-b"}
    assert set(cancelled.sent) == {DispatchStep(Activation("c"), 1, 2), DispatchStep(Activation("d"), 1, 1)}


def test_a_step_between_attempts_has_no_message(stand):
    run = stand.start()
    run.claim("a")
    run.retry("a", delay=60_000_000)
    cancelled = run.cancel()
    assert (dict(cancelled.held), list(cancelled.sent)) == ({}, [])


def test_a_waiting_step_is_not_being_executed(stand):
    run = stand.start()
    run.wait_at("a")
    assert not run.cancel().held


def test_nothing_is_active_or_due_after_a_cancellation(forked):
    forked.wait_at("c", timeout=1_000_000)
    forked.cancel()
    assert (forked.load().active, forked.due()) == (0, {})


def test_a_cancellation_reserves_one_number(forked):
    assert forked.cancel().sequence == 8


def test_a_run_is_cancelled_once(forked):
    forked.cancel("first")
    assert forked.cancel("second") is None
    assert forked.load().cancel_reason == "first"


def test_an_ended_run_is_not_cancelled(forked):
    forked.fail("b")
    before = forked.load()
    assert forked.cancel() is None
    assert forked.load() == before


def test_an_unknown_run_is_not_found(stand):
    with pytest.raises(InstanceNotFoundError):
        stand.prepare().cancel()


def test_of_an_end_and_a_cancellation_at_once_exactly_one_happens(stand):
    for number in range(10):
        run = stand.start({("a", "ok"): ["done"]}, instance_id=f"order::{number}")
        run.claim("a")
        barrier = Barrier(2)

        def complete(run=run, barrier=barrier):
            barrier.wait()
            return run.complete("a").verdict is Verdict.APPLIED

        def cancel(run=run, barrier=barrier):
            barrier.wait()
            return run.cancel() is not None

        with ThreadPoolExecutor(2) as pool:
            ended = [future.result() for future in (pool.submit(complete), pool.submit(cancel))]
        assert sum(ended) == 1
        completed = run.load().status is Status.COMPLETED
        assert [entry.outcome for entry in run.history()] == (["completed"] * 2 if completed else ["", "discarded"])


def test_the_history_is_in_the_order_of_the_commits(stand):
    run = stand.start(FORK)
    run.step("a")
    run.wait_at("c")
    run.step("b")
    run.deliver("go")
    run.step("c")
    entries = [(json.loads(entry.detail)["step"], entry.outcome) for entry in run.history()]
    assert entries == [
        ("a", "completed"),
        ("c", "waiting"),
        ("b", "completed"),
        ("c", "completed"),
        ("done", "completed"),
    ]
    sequences = [entry.sequence for entry in run.history()]
    assert sequences == sorted(set(sequences))


def test_an_entry_knows_when_its_attempt_was_queued_started_and_finished(stand):
    run = stand.start()
    claim = run.claim("a")
    run.complete("a")
    entry = run.history()[0]
    assert (entry.queued_at, entry.started_at) == (claim.queued_at, claim.claimed_at)
    assert entry.finished_at == run.load().steps["b"].queued_at >= entry.started_at


def test_the_entry_of_done_happens_in_one_moment(stand):
    run = stand.start({("a", "ok"): ["done"]})
    finished = run.step("a").finished_at
    entry = run.history()[-1]
    assert (entry.queued_at, entry.started_at, entry.finished_at, entry.sequence) == (finished, finished, finished, 8)


def test_the_entry_of_a_cancellation_has_its_moment_alone(stand):
    run = stand.start()
    at = run.cancel().run.finished_at
    entry = run.history()[0]
    assert (entry.queued_at, entry.started_at, entry.finished_at, entry.outcome) == (None, None, at, "")


def test_the_detail_of_an_entry_is_kept_as_it_is(stand):
    run = stand.start()
    run.claim("a")
    run.complete("a", entry='{"a|b":"|","list":[]}')
    assert run.history()[0].detail == '{"a|b":"|","list":[]}'


def test_an_unknown_run_has_no_history(stand):
    assert list(stand.prepare().history()) == []


def test_waiting_for_a_run_that_goes_on_gives_up_at_the_timeout(stand, storage):
    assert storage.wait_finished(stand.start().id, timeout=0.01) is False


def test_waiting_for_an_ended_run_returns_at_once(stand, storage):
    run = stand.start()
    run.cancel()
    assert storage.wait_finished(run.id, timeout=0) is True


def test_waiting_for_an_unknown_run_returns_at_once(stand, storage):
    assert storage.wait_finished(stand.prepare().id, timeout=0) is True


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_waiting_wakes_at_the_end(stand, storage, end):
    run = stand.start({("a", "ok"): ["done"]})
    run.claim("a")
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(storage.wait_finished, run.id, timeout=30)
        run.cancel() if end == "cancel" else getattr(run, end)("a")
        assert waiter.result(timeout=20) is True


def test_waiting_without_a_timeout_wakes_at_the_end(stand, storage):
    run = stand.start()
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(storage.wait_finished, run.id, timeout=None)
        run.cancel()
        assert waiter.result(timeout=20) is True
