"""Tests of lost attempts: each has failed; an event whose worker is lost is applied again, the first times."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.limits import APPLY_MARGIN, LOSSES
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.storage.claims import Claim, Refusal, Refused
from hephaestus_celery.testing.conformance.sent import rescues

FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
HOUR = 3_600_000_000


def test_a_renewed_step_is_not_taken(hasty):
    run = hasty.start()
    run.claim("a")
    assert run.renew("a", lease=30_000_000) is True
    hasty.calm()
    assert run.complete("a").verdict is Verdict.APPLIED


# Leases that run out


def test_a_step_without_a_lease_renewal_is_taken(hasty):
    run = hasty.start()
    run.claim("a", fence="old")
    [entry] = hasty.entries(1)
    assert (entry.kind, entry.run_id, entry.name, entry.version, entry.dispatch) == (
        Due.LEASE_EXPIRED,
        run.id,
        "shop.Order",
        1,
        DispatchStep(Activation("a"), 1, 1),
    )
    held = entry.attempt
    assert (held.run_id, held.activation, held.number, held.max_attempts) == (run.id, Activation("a"), 1, 5)
    assert (held.holder, held.lease, held.fence == "old") == (None, hasty.durations.lease, False)
    assert run.load().steps["a"].fence == entry.attempt.fence


def test_a_taken_step_is_active_in_the_same_attempt(hasty):
    run = hasty.start()
    run.claim("a")
    hasty.entries(1)
    step = run.load().steps["a"]
    assert (step.status, step.attempt, step.backing_off) == (StepStatus.ACTIVE, 1, False)


@pytest.mark.parametrize("how", ["complete", "suspend", "retry", "fail"])
def test_who_lost_a_step_cannot_commit(hasty, how):
    run = hasty.start()
    run.claim("a")
    hasty.entries(1)
    before = run.load(), list(run.history())
    assert getattr(run, how)("a").verdict is Verdict.STALE
    assert (run.load(), list(run.history())) == before


def test_who_lost_a_step_cannot_renew(hasty):
    run = hasty.start()
    run.claim("a")
    hasty.entries(1)
    assert run.renew("a") is False


def test_a_taken_step_cannot_be_claimed(hasty):
    run = hasty.start()
    run.claim("a")
    hasty.entries(1)
    assert run.claim("a") == Refusal(reason=Refused.TAKEN)


@pytest.mark.parametrize("how", ["retry", "fail"])
def test_who_took_a_step_fails_its_attempt(hasty, how):
    run = hasty.start()
    run.claim("a")
    [entry] = hasty.entries(1)
    run.fences["a"] = entry.attempt.fence
    assert getattr(run, how)("a").verdict is Verdict.APPLIED


def test_a_taken_attempt_is_followed_by_the_next(hasty):
    run = hasty.start()
    run.claim("a")
    [entry] = hasty.entries(1)
    run.fences["a"] = entry.attempt.fence
    run.retry("a")
    assert [found.kind for found in hasty.entries(1)] == [Due.RETRY]
    assert isinstance(run.claim("a", 2), Claim)


def test_a_rescue_is_recorded_with_its_number_and_its_reason(hasty):
    run = hasty.start()
    run.claim("a")  # 1-3
    [entry] = hasty.entries(1)
    assert entry.sequence == 4
    assert rescues(run) == [
        (
            4,
            {
                "kind": "rescue",
                "step": "a",
                "attempt": 1,
                "reason": "lease expired",
                "worker": "w1",
            },
        )
    ]


def test_a_rescue_in_the_history_says_when_and_has_no_outcome(hasty):
    run = hasty.start()
    claim = run.claim("a")
    hasty.entries(1)
    [entry] = run.history()
    assert (entry.outcome, entry.queued_at, entry.started_at) == ("", None, None)
    assert claim.claimed_at < entry.finished_at <= hasty.storage.now()


def test_a_step_whose_rescuer_is_gone_too_is_taken_again(hasty):
    run = hasty.start()
    run.claim("a")
    first, second = hasty.entries(2)
    assert (first.kind, second.kind) == (Due.LEASE_EXPIRED, Due.LEASE_EXPIRED)
    assert first.attempt.fence != second.attempt.fence
    run.fences["a"] = first.attempt.fence
    assert run.retry("a").verdict is Verdict.STALE
    run.fences["a"] = second.attempt.fence
    assert run.retry("a").verdict is Verdict.APPLIED


def test_leases_that_run_out_together_have_fences_of_their_own(hasty):
    run = hasty.start(FORK)
    run.step("a")
    run.claim("b")
    run.claim("c")
    fences = {entry.attempt.fence for entry in hasty.entries(2)}
    assert len(fences) == 2


def test_an_attempt_beyond_its_limit_is_taken_although_it_was_renewed(stand):
    run = stand.start()
    run.claim("a", limit=0)
    assert run.renew("a") is True
    [entry] = stand.tick().entries
    assert (entry.kind, rescues(run)[0][1]["reason"]) == (Due.TIMED_OUT, "time limit exceeded")
    assert run.complete("a").verdict is Verdict.STALE


def test_an_attempt_within_its_limit_is_left_alone(stand):
    run = stand.start()
    run.claim("a", limit=HOUR)
    assert list(stand.tick().entries) == []


def test_a_lease_that_ran_out_before_the_limit_lapsed(hasty):
    run = hasty.start()
    run.claim("a", limit=HOUR)
    assert [entry.kind for entry in hasty.entries(1)] == [Due.LEASE_EXPIRED]
    assert run.load().steps["a"].deadline is not None


def test_a_completed_step_is_not_taken(hasty):
    run = hasty.start()
    run.step("a")
    hasty.calm()
    assert rescues(run) == []


def test_in_an_ended_run_nothing_is_taken(hasty):
    run = hasty.start()
    run.claim("a")
    run.cancel()
    hasty.calm()
    assert (run.load().status, rescues(run)) == (Status.CANCELLED, [])


def test_an_event_that_nobody_applies_any_more_is_sent_again(hasty):
    run = hasty.start()
    run.wait_at("a")
    run.deliver("go", '{"n":1}')
    run.claim("a")
    [entry] = hasty.entries(1)
    assert (entry.kind, entry.dispatch, entry.attempt) == (Due.REAPPLY, DispatchStep(Activation("a"), 1, 3), None)
    assert run.complete("a").verdict is Verdict.STALE
    assert run.claim("a").data == '{"n":1}'


def test_applying_an_event_again_is_recorded_as_a_rescue(hasty):
    run = hasty.start()
    run.wait_at("a")  # 1-4
    run.deliver("go")
    run.claim("a")
    [entry] = hasty.entries(1)
    assert entry.sequence == 5
    assert [(number, stored["reason"]) for number, stored in rescues(run)] == [
        (5, "worker that applied its event was lost")
    ]


def give(stand, run, source):
    """Have a claimed step wait, and give it an event: of a sender, of a timer, or one that came before."""
    if source == "early":
        run.deliver("go", '{"n":1}', keep=True)
    run.suspend("a", timeout=0 if source == "timeout" else None)
    if source == "timeout":
        assert [entry.kind for entry in stand.entries(1)] == [Due.TIMEOUT]
    elif source == "delivery":
        run.deliver("go", '{"n":1}')


@pytest.mark.parametrize("source", ["delivery", "timeout", "early"])
def test_an_event_that_ends_its_worker_each_time_uses_up_the_attempts(hasty, source):
    run = hasty.start(max_attempts=2)
    run.claim("a")
    give(hasty, run, source)
    kinds, data = [], []
    while not run.load().status.final:
        step = run.load().steps["a"]
        claim = run.claim("a", step.attempt)
        data.append((claim.resume.event, claim.data))
        [entry] = hasty.entries(1)
        kinds.append(entry.kind)
        if entry.kind is Due.LEASE_EXPIRED:
            assert run.complete("a").verdict is Verdict.STALE
            run.fences["a"] = entry.attempt.fence
            run.retry("a") if step.attempt < step.max_attempts else run.fail("a")
            kinds += [found.kind for found in hasty.entries(1)] if not run.load().status.final else []
    assert kinds == [Due.REAPPLY] * LOSSES + [Due.LEASE_EXPIRED, Due.RETRY, Due.LEASE_EXPIRED]
    assert data == [data[0]] * (LOSSES + 2)
    loaded = run.load()
    assert (loaded.status, loaded.failed_step, run.due()) == (Status.FAILED, "a", {})
    assert {stored["reason"] for _, stored in rescues(run)} == {"worker that applied its event was lost"}
    assert [entry.outcome for entry in run.history()] == ["waiting", *[""] * 3, "retrying", "", "failed"]
    assert [entry.sequence for entry in run.history()] == sorted(entry.sequence for entry in run.history())


def test_an_event_that_was_lost_often_is_applied_once_by_who_gets_it_through(hasty):
    run = hasty.start(max_attempts=1)
    run.wait_at("a")
    run.deliver("go", '{"n":1}')
    for _ in range(LOSSES):
        run.claim("a")
        hasty.entries(1)
    assert run.claim("a").data == '{"n":1}'
    assert run.complete("a").verdict is Verdict.APPLIED
    assert run.claim("a").reason == "stale"
    assert [entry.outcome for entry in run.history()].count("completed") == 1


def test_an_event_whose_rescuer_is_gone_too_is_taken_again(hasty):
    run = hasty.start()
    run.wait_at("a")
    run.deliver("go")
    for _ in range(LOSSES):
        run.claim("a")
        hasty.entries(1)
    run.claim("a")
    first, second = hasty.entries(2)
    assert (first.kind, second.kind, first.attempt.fence != second.attempt.fence) == (
        Due.LEASE_EXPIRED,
        Due.LEASE_EXPIRED,
        True,
    )


def test_an_event_that_takes_longer_than_the_limit_is_a_failed_attempt_at_once(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    run.claim("a", limit=-APPLY_MARGIN)
    assert run.renew("a") is True
    [entry] = stand.tick().entries
    assert (entry.kind, rescues(run)[-1][1]["reason"]) == (Due.TIMED_OUT, "time limit exceeded")
    assert run.complete("a").verdict is Verdict.STALE
    run.fences["a"] = entry.attempt.fence
    assert run.retry("a").verdict is Verdict.APPLIED
    assert run.claim("a", 2).reason == "stale"
    assert stand.entries(1)[0].kind is Due.RETRY
    assert run.claim("a", 2).run.steps["a"].deadline is None


def test_an_event_that_is_sent_again_has_its_whole_limit_again(hasty):
    run = hasty.start()
    run.wait_at("a")
    run.deliver("go")
    run.claim("a", limit=HOUR)
    hasty.entries(1)
    assert run.load().steps["a"].deadline is None


def test_who_applied_an_event_and_is_known_to_be_gone_is_looked_at_at_once(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    run.claim("a", holder="task")
    assert run.seize("a", holder="other") is None
    assert list(stand.tick().entries) == []
    assert run.seize("a", holder="task") is None
    assert [entry.kind for entry in stand.tick().entries] == [Due.REAPPLY]
    assert run.seize("a", holder="task") is None
    assert list(stand.tick().entries) == []


def test_who_was_ended_at_the_time_limit_while_it_applied_an_event_has_failed_the_attempt(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    run.claim("a", holder="task", limit=HOUR)
    assert run.seize("a", holder="task", timed_out=True) is None
    assert [entry.kind for entry in stand.tick().entries] == [Due.TIMED_OUT]


# The law on numbers


def test_the_numbers_of_all_events_have_no_gaps(stand_with):
    stand = stand_with(lease=timedelta(milliseconds=20), dispatch_timeout=timedelta(milliseconds=20))
    run = stand.start()
    first, lost = stand.entries(1), 0
    assert (first[0].sequence, run.claim("a", holder="task1").sequence) == (1, 2)  # 2-4
    lost = run.seize("a", holder="task1")
    assert (lost.sequence, run.retry("a").sequence) == (5, 6)
    assert [entry.sequence for entry in stand.entries(2)] == [0, 7]  # the retry, and its lost message
    assert run.claim("a", 2, holder="task2").sequence == 8
    [expired] = stand.entries(1)
    run.fences["a"] = expired.attempt.fence
    assert (expired.sequence, run.retry("a").sequence) == (9, 10)
    stand.entries(1)
    run.claim("a", 3)  # 11
    assert run.suspend("a", timeout=0).sequence == 12
    stand.entries(1)
    run.claim("a", 3)
    [reapplied] = stand.entries(1)
    assert reapplied.sequence == 13
    run.claim("a", 3)
    assert run.complete("a").sequence == 14  # 14-16
    assert [entry.sequence for entry in run.history()] == [1, 5, 6, 7, 9, 10, 12, 13, 14]
