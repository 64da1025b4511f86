"""Tests of failures that a transition takes: the attempt has failed, its step has completed, and the run goes on."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.storage.schema import EDGES
from hephaestus_celery.testing.conformance.driven import FAILURE

REFUNDED = {("a", "ok"): ["b"], ("a", FAILED): ["c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}
ENTRY = json.dumps({"kind": "attempt", "step": "a", "event": FAILED, "reason": "ValueError: no"})


def fail(run, step="a", **fields):
    """Claim a step and fail it for good."""
    run.claim(step)
    return run.complete(step, FAILED, **{"result": FAILURE, "kind": "error", **fields})


def test_a_failure_that_a_transition_takes_starts_what_it_leads_to(stand):
    run = stand.start(REFUNDED)
    commitment = fail(run)
    assert (commitment.verdict, list(commitment.dispatches), commitment.status_after) == (
        Verdict.APPLIED,
        [DispatchStep(Activation("c"), 1, 1)],
        Status.RUNNING,
    )
    assert {key: step.status.value for key, step in run.load().steps.items()} == {
        "a": "completed",
        "b": "skipped",
        "c": "active",
    }


def test_the_step_has_completed_with_its_failure_and_the_run_has_none(stand):
    run = stand.start(REFUNDED)
    fail(run)
    stored = run.load()
    assert (stored.steps["a"].event, stored.results, stored.failed_step, stored.failure) == (
        FAILED,
        {"a": FAILURE},
        None,
        None,
    )


def test_the_history_says_that_the_attempt_has_failed(stand):
    run = stand.start(REFUNDED)
    fail(run, entry=ENTRY)
    [entry] = run.history()
    assert (entry.outcome, json.loads(entry.detail)) == ("failed", json.loads(ENTRY))


def test_it_reserves_the_numbers_of_a_completed_step(stand):
    run = stand.start(REFUNDED)
    assert fail(run).sequence == 4
    run.step("c")
    assert run.load().steps["c"].order == 8


def test_a_failure_that_leads_to_done_completes_the_run(stand):
    run = stand.start({("a", "ok"): ["done"], ("a", FAILED): ["done"]})
    commitment = fail(run)
    assert (commitment.status_after, list(commitment.completed)) == (Status.COMPLETED, ["a", "done"])


def test_a_step_may_be_retried_before_its_failure_is_taken(stand):
    run = stand.start(REFUNDED)
    run.claim("a")
    run.retry("a")
    stand.entries(1)
    run.claim("a", 2)
    run.complete("a", FAILED, result=FAILURE)
    step = run.load().steps["a"]
    assert (step.status, step.attempt, step.event) == (StepStatus.COMPLETED, 2, FAILED)


def test_the_failure_of_a_seized_attempt_is_taken_once(stand):
    run = stand.start(REFUNDED)
    run.claim("a", holder="task1")
    lost = run.fences["a"]
    assert run.seize("a", holder="task1") is not None
    assert run.complete("a", FAILED, result=FAILURE).verdict is Verdict.APPLIED
    assert run.complete("a", "ok", fence=lost, operation="late").verdict is Verdict.STALE
    assert {key: step.status.value for key, step in run.load().steps.items()}["c"] == "active"


def test_an_applied_event_may_end_in_a_failure_that_is_taken(stand):
    run = stand.start(REFUNDED)
    run.wait_at("a")
    run.deliver()
    run.claim("a")
    commitment = run.complete("a", FAILED, result=FAILURE)
    assert (list(commitment.activated), commitment.active, commitment.status_after) == (["c"], 1, Status.RUNNING)


def test_a_taken_failure_after_the_end_of_its_run_is_discarded(stand):
    run = stand.start(REFUNDED)
    run.claim("a")
    run.cancel()
    assert run.complete("a", FAILED, result=FAILURE).verdict is Verdict.DISCARDED
    assert [entry.outcome for entry in run.history()][-1] == "discarded"


def test_a_repeated_commit_of_a_failure_gets_its_first_reply(stand):
    run = stand.start(REFUNDED)
    first = fail(run)
    assert run.complete("a", FAILED, result=FAILURE) == first
    assert [entry.outcome for entry in run.history()] == ["failed"]


def test_a_retry_keeps_a_step_whose_failure_was_taken(stand):
    run = stand.start(REFUNDED)
    fail(run)
    run.claim("c")
    run.fail("c")
    again = run.retried()
    stored = again.load()
    assert (stored.steps["a"].event, stored.results["a"]) == (FAILED, FAILURE)
    assert {key: step.status.value for key, step in stored.steps.items()} == {
        "a": "completed",
        "b": "skipped",
        "c": "active",
    }


@pytest.mark.parametrize("paused", [False, True])
def test_a_pause_leaves_a_run_its_schema_number(stand, paused):
    run = stand.start(REFUNDED, schema=EDGES)
    run.pause()
    if not paused:
        run.unpause()
    assert run.schema() == EDGES
