"""Tests of the result of a run: it is computed by whoever commits what reaches ``Done``, and stored with that commit."""

from __future__ import annotations

import json
from typing import Any

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.state import AtDone, Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.testing.conformance.driven import FAILURE

SIDE_BY_SIDE = {
    ("a", "ok"): ["b", "c"],
    ("b", "ok"): ["done"],
    ("c", "ok"): ["done"],
    ("c", "no"): ["d"],
    ("d", "ok"): ["done"],
}
ONE = {("a", "ok"): ["done"]}
RESULT = '{"sum":7}'
DONE_ENTRY = json.dumps({"kind": "attempt", "step": "done", "reason": "ValueError: no"})
FAILS: dict[str, Any] = {"at_done": AtDone.FAILS, "outcome": FAILURE, "refused": FAILURE, "done_entry": DONE_ENTRY}


def side_by_side(stand, **fields):
    """A run of which one branch has ended, and the other is claimed."""
    run = stand.start(SIDE_BY_SIDE, **fields)
    run.step("a")
    run.step("b", at_done=AtDone.ASKS)
    run.claim("c")
    return run


def test_a_commit_that_would_complete_the_run_asks_for_its_result_and_changes_nothing(stand):
    run = side_by_side(stand)
    before = run.load()
    wanted = run.complete("c", at_done=AtDone.ASKS)
    assert wanted.verdict is Verdict.WANTED
    assert wanted.run is not None
    assert (wanted.run.applied, wanted.run.sequence) == (2, before.sequence)
    assert run.load() == before


def test_a_commit_after_which_other_branches_go_on_asks_for_nothing(stand):
    run = stand.start(SIDE_BY_SIDE)
    run.step("a")
    run.claim("b")
    assert run.complete("b", at_done=AtDone.ASKS).status_after is Status.RUNNING


def test_a_commit_that_leads_elsewhere_asks_for_nothing(stand):
    run = side_by_side(stand)
    assert list(run.complete("c", "no", at_done=AtDone.ASKS).activated) == ["d"]


def test_dead_branches_are_known_before_the_result_is_asked_for(stand):
    edges = {
        ("a", "ok"): ["b", "c"],
        ("b", "ok"): ["e"],
        ("c", "ok"): ["e"],
        ("a", "no"): ["done"],
        ("e", "ok"): ["done"],
    }
    run = stand.start(edges)
    run.claim("a")
    assert run.complete("a", "no", at_done=AtDone.ASKS).verdict is Verdict.WANTED
    assert run.complete("a", "no", outcome=RESULT, expected=0).status_after is Status.COMPLETED
    assert {key: step.status.value for key, step in run.load().steps.items()} == {
        "a": "completed",
        "b": "skipped",
        "c": "skipped",
        "e": "skipped",
        "done": "completed",
    }


def test_the_result_is_stored_with_the_commit_that_completes_the_run(stand):
    run = side_by_side(stand)
    expected = run.complete("c", at_done=AtDone.ASKS).run.applied
    commitment = run.complete("c", outcome=RESULT, expected=expected)
    assert (commitment.verdict, commitment.status_after) == (Verdict.APPLIED, Status.COMPLETED)
    assert run.load().results[DONE] == RESULT


def test_a_result_is_computed_again_when_more_has_completed_meanwhile(stand):
    run = stand.start(
        {("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}, joins={"d": 1}
    )
    run.step("a")
    run.claim("b")
    run.step("c")
    run.claim("d")
    expected = run.complete("d", at_done=AtDone.ASKS).run.applied
    run.complete("b")
    commitment = run.complete("d", outcome=RESULT, expected=expected)
    assert commitment.verdict is Verdict.CONFLICT
    assert commitment.run.applied == expected + 1
    assert run.load().status is Status.RUNNING


def test_a_run_completes_although_others_are_left_behind(stand):
    run = stand.start(
        {("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}, joins={"d": 1}
    )
    run.step("a")
    run.step("c")
    run.claim("d")
    assert run.complete("d", at_done=AtDone.ASKS).verdict is Verdict.WANTED
    assert run.complete("d", outcome=RESULT).status_after is Status.COMPLETED


def test_a_result_that_is_not_used_is_not_stored(stand):
    run = stand.start(SIDE_BY_SIDE)
    run.step("a")
    run.claim("b")
    run.complete("b", outcome=RESULT)
    assert DONE not in run.load().results


def test_a_run_whose_result_could_not_be_computed_has_failed_at_done(stand):
    run = side_by_side(stand)
    commitment = run.complete("c", result='{"n":1}', **FAILS)
    assert (commitment.verdict, commitment.status_after) == (Verdict.APPLIED, Status.FAILED)
    stored = run.load()
    assert (stored.status, stored.failed_step, stored.failure, stored.results) == (
        Status.FAILED,
        DONE,
        FAILURE,
        {"c": '{"n":1}'},
    )
    assert (stored.steps["c"].status, stored.steps[DONE].status) == (StepStatus.COMPLETED, StepStatus.FAILED)


def test_the_history_says_that_done_has_failed_and_each_event_has_a_number(stand):
    run = side_by_side(stand)
    sequence = run.complete("c", **FAILS).sequence
    step, end = run.history()[-2:]
    assert (step.outcome, step.sequence) == ("completed", sequence)
    assert (end.outcome, end.sequence, json.loads(end.detail)) == ("failed", sequence + 4, json.loads(DONE_ENTRY))
    assert run.load().sequence == sequence + 5


def test_a_repeated_commit_with_a_result_gets_its_first_reply(stand):
    run = side_by_side(stand)
    first = run.complete("c", outcome=RESULT, expected=2)
    assert run.complete("c", outcome=RESULT, expected=2) == first
    assert run.load().results[DONE] == RESULT


def test_a_repeated_commit_of_a_failure_at_done_gets_its_first_reply(stand):
    run = side_by_side(stand)
    first = run.complete("c", **FAILS)
    assert run.complete("c", **FAILS) == first
    assert [entry.outcome for entry in run.history()][-1] == "failed"


def test_a_commit_after_the_end_of_its_run_asks_for_nothing(stand):
    run = side_by_side(stand)
    run.cancel()
    assert run.complete("c", at_done=AtDone.ASKS).verdict is Verdict.DISCARDED


def test_a_result_of_who_lost_the_attempt_changes_nothing(stand):
    run = side_by_side(stand)
    before = run.load()
    assert run.complete("c", fence="foreign", operation="late", outcome=RESULT).verdict is Verdict.STALE
    assert run.load() == before


def test_done_is_started_where_nobody_can_compute_the_result(stand):
    run = side_by_side(stand)
    commitment = run.complete("c", at_done=AtDone.STARTS)
    assert (commitment.status_after, list(commitment.activated), list(commitment.dispatches)) == (
        Status.RUNNING,
        [DONE],
        [DispatchStep(Activation(DONE), 1, 1)],
    )
    done = run.load().steps[DONE]
    assert (done.status, done.max_attempts) == (StepStatus.ACTIVE, 5)


def test_who_claims_done_is_asked_for_the_result_too(stand):
    run = side_by_side(stand)
    run.complete("c", at_done=AtDone.STARTS)
    run.claim(DONE)
    assert run.complete(DONE, DONE, at_done=AtDone.ASKS).verdict is Verdict.WANTED
    commitment = run.complete(DONE, DONE, outcome=RESULT)
    assert (commitment.status_after, run.load().results[DONE]) == (Status.COMPLETED, RESULT)


def test_a_run_fails_if_who_claims_done_can_not_compute_the_result(stand):
    run = stand.start(ONE)
    run.claim("a")
    run.complete("a", at_done=AtDone.STARTS)
    run.claim(DONE)
    commitment = run.complete(DONE, DONE, **FAILS)
    assert (commitment.status_after, run.load().failed_step) == (Status.FAILED, DONE)
    assert [entry.outcome for entry in run.history()] == ["completed", "failed"]
    assert run.load().sequence == commitment.sequence + 2


def test_who_lost_its_worker_at_done_is_tried_again(stand):
    run = stand.start(ONE)
    run.claim("a")
    run.complete("a", at_done=AtDone.STARTS)
    run.claim(DONE, holder="task1")
    assert run.seize(DONE, holder="task1") is not None
    assert run.retry(DONE).verdict is Verdict.APPLIED
    stand.entries(1)
    run.claim(DONE, 2)
    assert run.complete(DONE, DONE, outcome=RESULT).status_after is Status.COMPLETED


def test_the_message_of_done_is_held_while_the_run_is_paused(stand):
    run = side_by_side(stand)
    run.pause()
    assert list(run.complete("c", at_done=AtDone.STARTS).dispatches) == []
    run.unpause()
    assert [entry.dispatch.activation.step for entry in stand.entries(1)] == [DONE]


def test_a_retry_of_a_run_that_failed_at_done_starts_done_without_a_result(stand):
    run = side_by_side(stand)
    run.complete("c", **FAILS)
    again = run.retried()
    stored = again.load()
    assert {key: step.status.value for key, step in stored.steps.items()} == {
        "a": "completed",
        "b": "completed",
        "c": "completed",
        "d": "skipped",
        "done": "active",
    }
    again.claim(DONE)
    again.complete(DONE, DONE, outcome=RESULT)
    assert again.load().results[DONE] == RESULT


def test_a_fork_of_a_completed_run_takes_its_result_not_along(stand):
    run = side_by_side(stand)
    run.complete("c", outcome=RESULT)
    again = run.forked("c")
    assert DONE not in again.load().results
