"""Tests of retries and forks of runs that undo: what was undone runs again, and what was not is undone later."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.exceptions import RunStateError
from hephaestus_celery.testing.conformance.trips import failing, sent, standing_of, trip


def undone(stand):
    """A run that has failed at c, and has undone b and a in that order."""
    run = failing(stand)
    run.fail("c")
    run.step("undo_b")
    run.step("undo_a")
    return run


def test_a_retry_runs_again_what_was_undone(stand):
    again = undone(stand).retried()
    assert standing_of(again) == {"a": "active"}
    assert again.load().steps["a"].origin is None
    assert (again.load().undo_count, again.load().undoing) == (0, None)


def test_a_retry_keeps_what_was_not_undone_and_undoes_it_later(stand):
    run = failing(stand)
    run.fail("c")
    run.claim("undo_b")
    run.cancel()
    again = run.retried()
    assert standing_of(again) == {"a": "completed", "b": "active"}
    assert again.load().undo_count == 1
    again.claim("b")
    assert sent(again.fail("b")) == ["undo_a"]
    assert again.step("undo_a").status_after is Status.FAILED


def test_a_retry_keeps_the_keys_of_steps_that_were_dropped(stand):
    edges = {("a", "ok"): ["done"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
    run = trip(stand, edges, {"c": "undo_c"})
    run.claim("a")
    run.retry("a", delay=3_600_000_000)
    run.claim("b")
    run.fail("b")
    again = run.retried()
    assert {key: state.origin for key, state in again.load().steps.items()} == dict.fromkeys("abc", run.id)


def test_a_retry_takes_the_transition_of_a_step_that_ended_late(stand):
    edges = {("a", "ok"): ["c"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]}
    run = trip(stand, edges, {"c": "undo_c"})
    run.claim("a")
    run.claim("b")
    run.fail("b")
    run.complete("a")
    assert run.load().status is Status.FAILED
    again = run.retried()
    assert standing_of(again) == {"a": "completed", "b": "active"}
    assert list(again.step("b").activated) == ["c"]


def test_a_fork_undoes_only_what_it_has_completed_itself(stand):
    run = failing(stand)
    other = run.forked("b", instance_id="order::other")
    assert other.load().undo_count == 0
    other.step("b")
    other.claim("c")
    assert sent(other.fail("c")) == ["undo_b"]
    assert other.step("undo_b").status_after is Status.FAILED


def test_a_fork_of_a_run_that_undoes_is_refused(stand):
    run = failing(stand)
    run.fail("c")
    with pytest.raises(RunStateError, match="undoes"):
        run.forked("b", instance_id="order::other")
    with pytest.raises(RunStateError, match="undoes"):
        run.forked("b")


def test_a_fork_of_a_run_that_has_begun_to_undo_since_it_was_read_is_refused(stand):
    run = failing(stand)
    rerun = run.rerun(again=["b"], retry=False, instance_id="order::other")
    run.fail("c")
    run.cancel()
    with pytest.raises(RunStateError, match="undoes"):
        run.made(rerun)
