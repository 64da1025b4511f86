"""Tests of rounds: a step that answers ``Again`` is executed again after a time, and its history stays bounded."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.limits import TURNED_AWAY
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.storage.claims import Refusal, Refused
from hephaestus_celery.storage.due import DueEntry
from hephaestus_celery.storage.queries import DataKind, Query
from hephaestus_celery.storage.schema import ROUNDS

HOUR = 3_600_000_000


@pytest.fixture
def between(stand):
    """A run whose step begins its second round in an hour."""
    run = stand.start()
    run.claim("a")
    run.again("a", delay=HOUR, state='{"cursor":7}')
    return run


@pytest.fixture
def at_once(stand):
    """A run whose step is in its second round, which nobody has claimed."""
    run = stand.start()
    run.claim("a")
    run.again("a", state='{"cursor":7}')
    return run


# What a commit does


def test_a_step_between_rounds_waits(between):
    run = between.load()
    step = run.steps["a"]
    assert (run.status, run.active, step.status, step.between_rounds) == (Status.WAITING, 0, StepStatus.WAITING, True)
    assert (step.fence, step.holder, step.deadline, step.accepts) == (None, None, None, {})
    [entry] = between.history()
    assert (step.round, step.attempt, step.waiting_since) == (2, 1, entry.finished_at)


def test_the_commitment_says_how_the_run_stands(stand):
    run = stand.start()
    run.claim("a")
    commitment = run.again("a", delay=HOUR)
    assert (commitment.verdict, commitment.status_before, commitment.status_after, commitment.active) == (
        Verdict.APPLIED,
        Status.RUNNING,
        Status.WAITING,
        0,
    )
    assert (list(commitment.dispatches), commitment.resumed, commitment.sequence, commitment.advance) == (
        [],
        False,
        4,
        1,
    )


def test_the_next_round_is_due_after_its_time(between):
    [entry] = between.history()
    assert between.load().steps["a"].queued_at == between.due()["a"] == entry.finished_at + HOUR


def test_without_a_time_the_next_round_is_to_be_sent_at_once(stand):
    run = stand.start()
    run.claim("a")
    commitment = run.again("a")
    assert (commitment.status_after, commitment.active, commitment.resumed) == (Status.RUNNING, 1, True)
    assert list(commitment.dispatches) == [DispatchStep(Activation("a"), 1, 2, 2)]
    assert run.load().steps["a"].status is StepStatus.ACTIVE


def test_a_round_is_in_the_history(between):
    [entry] = between.history()
    assert (entry.sequence, entry.outcome) == (4, "again")
    assert entry.queued_at <= entry.started_at <= entry.finished_at


def test_a_repeated_commit_of_a_round_gets_the_first_reply(stand):
    run = stand.start()
    run.claim("a")
    first = run.again("a")
    assert run.again("a") == first
    assert run.load().steps["a"].round == 2


def test_a_late_commit_of_a_round_changes_nothing(at_once):
    at_once.claim("a", round=2)
    assert at_once.again("a", fence="foreign", operation="foreign").verdict is Verdict.STALE
    assert at_once.load().steps["a"].round == 2


def test_a_round_of_a_run_that_has_ended_is_discarded(stand):
    run = stand.start()
    run.claim("a")
    run.cancel()
    assert run.again("a").verdict is Verdict.DISCARDED
    assert run.history()[-1].outcome == "discarded"
    assert run.load().round_states == {}


def test_who_applies_an_event_answers_with_no_round(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    run.claim("a")
    assert run.again("a").verdict is Verdict.STALE
    assert run.complete("a").verdict is Verdict.APPLIED


# What a round is given


def test_a_round_is_given_its_state(at_once):
    assert at_once.claim("a", round=2).run.round_states == {"a": '{"cursor":7}'}


def test_each_round_is_given_what_the_one_before_has_said(at_once):
    at_once.claim("a", round=2)
    at_once.again("a", state='{"cursor":8}')
    assert at_once.load().round_states == {"a": '{"cursor":8}'}
    at_once.claim("a", round=3)
    at_once.again("a")
    assert at_once.load().round_states == {}


def test_the_state_of_a_round_is_read_by_itself(at_once, storage):
    assert storage.read_data(at_once.id, DataKind.ROUND_STATE, ["a", "b"]) == {"a": '{"cursor":7}'}


def test_a_retried_attempt_has_the_state_of_its_round(at_once, stand):
    at_once.claim("a", round=2)
    at_once.retry("a")
    stand.entries(1)
    claim = at_once.claim("a", 2, round=2)
    assert (claim.run.steps["a"].round, claim.run.round_states) == (2, {"a": '{"cursor":7}'})


def test_a_step_that_completes_leaves_no_state(at_once):
    at_once.claim("a", round=2)
    at_once.complete("a")
    run = at_once.load()
    assert (run.round_states, run.steps["a"].round) == ({}, 2)


def test_the_claim_of_a_large_run_brings_the_state_of_its_round(stand):
    run = stand.start(initial=json.dumps({"large": "x" * 100_000}))
    run.claim("a")
    run.again("a", state='{"cursor":7}')
    claim = run.claim("a", round=2)
    assert (claim.run.initial, claim.run.round_states) in [
        (None, {"a": '{"cursor":7}'}),
        (run.new.initial, {"a": '{"cursor":7}'}),
    ]


# When a round begins


def test_before_its_time_a_round_does_not_begin(between, stand):
    assert list(stand.tick().entries) == []
    assert between.claim("a", round=2) == Refusal(reason=Refused.STALE)


def test_a_round_that_is_due_is_dispatched(between, stand):
    between.probe.set_due(between.storage, between.id, "a", 0)
    assert list(stand.tick().entries) == [
        DueEntry(
            kind=Due.RETRY,
            run_id=between.id,
            name="shop.Order",
            version=1,
            dispatch=DispatchStep(Activation("a"), 1, 2, 2),
            sequence=0,
        )
    ]
    run = between.load()
    assert (run.status, run.active, run.steps["a"].status) == (Status.RUNNING, 1, StepStatus.ACTIVE)
    assert (run.steps["a"].waiting_since, run.steps["a"].between_rounds) == (None, False)
    stand.calm()


def test_a_round_takes_no_event_number_when_it_begins(between, stand):
    between.probe.set_due(between.storage, between.id, "a", 0)
    stand.entries(1)
    assert between.claim("a", round=2).sequence == 5
    assert len(between.history()) == 1


def test_a_message_of_an_earlier_round_is_refused(at_once):
    assert at_once.claim("a") == Refusal(reason=Refused.STALE)
    assert at_once.claim("a", round=3) == Refusal(reason=Refused.STALE)
    assert at_once.claim("a", round=2).attempt.number == 1


def test_each_round_has_its_own_attempts(stand):
    run = stand.start()
    for number in (1, 2, 3):
        for attempt in (1, 2):
            run.claim("a", attempt, round=number)
            if attempt == 1:
                run.retry("a")
                stand.entries(1)
        run.again("a")
    step = run.load().steps["a"]
    assert (step.round, step.attempt, step.max_attempts) == (4, 1, 5)


def test_the_lost_message_of_a_round_is_sent_again(at_once, stand):
    at_once.probe.set_due(at_once.storage, at_once.id, "a", 0)
    [entry] = stand.entries(1)
    assert (entry.kind, entry.dispatch) == (Due.REDISPATCH, DispatchStep(Activation("a"), 1, 3, 2))
    assert at_once.claim("a", round=2).attempt.number == 1


def test_the_lost_worker_of_a_round_costs_an_attempt_of_the_round(at_once, stand):
    at_once.claim("a", round=2)
    at_once.probe.set_due(at_once.storage, at_once.id, "a", 0)
    [entry] = stand.entries(1)
    assert (entry.kind, entry.attempt.number) == (Due.LEASE_EXPIRED, 1)
    at_once.fences["a"] = entry.attempt.fence
    at_once.retry("a")
    stand.entries(1)
    claim = at_once.claim("a", 2, round=2)
    assert (claim.run.steps["a"].round, claim.run.round_states) == (2, {"a": '{"cursor":7}'})


# What reaches a step between rounds


@pytest.mark.parametrize("step", [None, "a"])
def test_no_event_reaches_a_step_between_rounds(between, step):
    assert between.deliver("go", step=step).outcome is Delivered.NOT_WAITING
    assert between.load().steps["a"].between_rounds


def test_an_early_event_stays_kept_over_rounds(between, stand):
    assert between.deliver("go", keep=True).outcome is Delivered.KEPT
    between.probe.set_due(between.storage, between.id, "a", 0)
    stand.entries(1)
    between.claim("a", round=2)
    between.again("a")
    between.claim("a", round=3)
    commitment = between.suspend("a")
    assert (commitment.resumed, list(commitment.dispatches)) == (True, [DispatchStep(Activation("a"), 1, 4, 3)])
    assert between.claim("a", round=3).data == '{"x":1}'


def test_a_timer_beside_the_step_is_kept_over_rounds(between, stand):
    between.schedule("a", delay=0)
    stand.calm()
    assert between.load().steps["a"].between_rounds
    between.probe.set_due(between.storage, between.id, "a", 0)
    stand.entries(1)
    between.claim("a", round=2)
    assert between.suspend("a", accepts={"timeout": "ok"}).resumed


def test_a_step_between_rounds_is_listed_among_those_that_wait(between, storage, stand):
    long_ago = Query(waiting_since_before=storage.now() + HOUR)
    assert list(storage.list_run_ids(long_ago)[0]) == [between.id]
    assert list(storage.list_run_ids(Query(waiting_for="go"))[0]) == []
    between.probe.set_due(between.storage, between.id, "a", 0)
    stand.entries(1)
    assert list(storage.list_run_ids(long_ago)[0]) == []


def test_a_cancelled_run_begins_no_round(between, stand):
    between.cancel()
    assert between.due().keys() <= {"done"}
    stand.calm()
    assert between.load().status is Status.CANCELLED


def test_a_run_that_completes_without_a_step_between_rounds_skips_it(stand):
    run = stand.start({("a", "ok"): ["c"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]}, joins={"c": 1}, schema=3)
    run.claim("a")
    run.again("a", delay=HOUR)
    run.step("b")
    assert run.step("c").status_after is Status.COMPLETED
    assert run.load().steps["a"].as_of(Status.COMPLETED).status is StepStatus.SKIPPED


# Pauses


def test_a_paused_run_begins_its_round_and_sends_no_message(stand):
    run = stand.start()
    run.claim("a")
    run.pause()
    run.again("a", delay=500, state='{"cursor":7}')
    stand.calm()
    assert run.load().steps["a"].status is StepStatus.ACTIVE
    assert run.claim("a", round=2) == Refusal(reason=Refused.PAUSED)
    run.unpause()
    [entry] = stand.entries(1)
    assert entry.dispatch == DispatchStep(Activation("a"), 1, 2, 2)
    assert run.claim("a", round=2).run.round_states == {"a": '{"cursor":7}'}


def test_a_round_at_once_of_a_paused_run_is_held(stand):
    run = stand.start()
    run.claim("a")
    run.pause()
    commitment = run.again("a")
    assert (commitment.resumed, list(commitment.dispatches)) == (False, [])
    run.unpause()
    [entry] = stand.entries(1)
    assert entry.dispatch == DispatchStep(Activation("a"), 1, 2, 2)


# Older workers


def test_a_run_needs_the_newer_schema_from_its_first_round_on(stand):
    run = stand.start()
    run.claim("a")
    assert run.schema() == 1
    run.again("a")
    assert run.schema() == ROUNDS


def test_the_message_of_a_late_round_that_went_to_the_wrong_worker_is_sent_again_as_soon(stand):
    run = stand.start()
    run.rounds("a", 12)
    run.claim("a", round=13, versions=())
    assert run.due()["a"] <= stand.storage.now() + TURNED_AWAY


def test_a_run_needs_the_newer_schema_when_a_pause_is_over(stand):
    run = stand.start()
    run.claim("a")
    run.pause(by="ann|é")
    run.again("a", delay=HOUR)
    assert run.schema() == ROUNDS
    assert run.load().pauses.run.by == "ann|é"
    run.unpause()
    assert run.schema() == ROUNDS


# Retries and forks


def test_a_retry_goes_on_in_the_round_with_its_state(at_once):
    at_once.claim("a", round=2)
    at_once.fail("a")
    again = at_once.retried()
    assert again.dispatched == [DispatchStep(Activation("a"), 1, 1, 2)]
    claim = again.claim("a", round=2)
    assert (claim.run.steps["a"].round, claim.run.round_states) == (2, {"a": '{"cursor":7}'})
    assert claim.run.steps["a"].origin == at_once.id
    assert again.schema() == ROUNDS


def test_a_retry_between_rounds_goes_on_in_the_next_one_at_once(between):
    between.cancel()
    again = between.retried()
    assert again.claim("a", round=2).run.round_states == {"a": '{"cursor":7}'}


def test_a_fork_begins_anew(at_once):
    at_once.claim("a", round=2)
    at_once.fail("a")
    again = at_once.forked("a")
    claim = again.claim("a")
    assert (claim.run.steps["a"].round, claim.run.round_states) == (1, {})


def test_a_rerun_keeps_the_round_of_a_step_that_had_completed(at_once):
    at_once.claim("a", round=2)
    at_once.complete("a")
    at_once.claim("b")
    at_once.fail("b")
    assert at_once.retried().load().steps["a"].round == 2
