"""Leases and lost messages: who holds a step keeps it by renewing its lease; a step that nobody holds any more is rescued."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.limits import APPLY_MARGIN, LOSSES
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.storage.claims import Claim, Lease, Refusal, Refused

SOON = timedelta(microseconds=1)
FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
HOUR = 3_600_000_000


@pytest.fixture
def hasty(stand_with):
    """A storage in which leases run out at once."""
    return stand_with(lease=SOON)


@pytest.fixture
def lossy(stand_with):
    """A storage in which a message counts as lost at once."""
    return stand_with(dispatch_timeout=SOON)


def rescues(run):
    """The rescues in a run's history: their numbers, and what is said of them."""
    return [(entry.sequence, json.loads(entry.detail)) for entry in run.history() if '"rescue"' in entry.detail]


# Claims with a limit and a holder


def test_a_claim_notes_who_holds_the_step(stand):
    run = stand.start()
    run.claim("a", holder="task1")
    assert run.load().steps["a"].holder == "task1"


def test_a_claim_without_a_limit_has_no_deadline(stand):
    run = stand.start()
    assert run.claim("a").run.steps["a"].deadline is None


def test_a_limit_sets_the_deadline_of_the_attempt(stand):
    run = stand.start()
    claim = run.claim("a", limit=HOUR)
    assert claim.run.steps["a"].deadline == claim.claimed_at + HOUR


@pytest.mark.parametrize(("limit", "due"), [(5_000_000, 5_000_000), (HOUR, 30_000_000)])
def test_a_claimed_step_is_due_after_its_lease_or_its_limit_whichever_is_sooner(stand, limit, due):
    run = stand.start()
    claim = run.claim("a", limit=limit)
    assert run.due() == {"a": claim.claimed_at + due}


def test_applying_an_event_has_the_limit_and_a_margin(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    claim = run.claim("a", limit=5_000_000)
    assert claim.run.steps["a"].deadline == claim.claimed_at + 5_000_000 + APPLY_MARGIN
    assert run.due() == {"a": claim.claimed_at + 5_000_000 + APPLY_MARGIN}


def test_each_attempt_has_a_deadline_of_its_own(stand):
    run = stand.start()
    run.claim("a", limit=HOUR)
    run.retry("a")
    stand.entries(1)
    assert run.claim("a", 2).run.steps["a"].deadline is None


def test_waiting_has_no_deadline(stand):
    run = stand.start()
    run.claim("a", limit=5_000_000)
    run.suspend("a")
    assert (run.load().steps["a"].deadline, run.due()) == (None, {})


# Renewals


def test_a_lease_renewal_prolongs_the_lease(stand, storage):
    run = stand.start()
    run.claim("a")
    before = storage.now()
    assert run.renew("a") is True
    assert before + 30_000_000 <= run.due()["a"] <= storage.now() + 30_000_000


def test_a_lease_renewal_changes_nothing_else(stand):
    run = stand.start()
    run.claim("a", holder="task1")
    before = run.load(), list(run.history())
    run.renew("a")
    assert (run.load(), list(run.history())) == before


def test_a_lease_renewal_does_not_prolong_the_limit(stand):
    run = stand.start()
    claim = run.claim("a", limit=5_000_000)
    assert run.renew("a") is True
    assert run.due() == {"a": claim.claimed_at + 5_000_000}


def test_lease_renewals_are_answered_one_by_one(stand, storage):
    runs = [stand.start(instance_id=f"order::{number}") for number in range(4)]
    for run in runs:
        run.claim("a")
    runs[1].complete("a")
    runs[2].cancel()
    leases = [Lease(run_id=run.id, activation=Activation("a"), fence=run.fences["a"]) for run in runs]
    assert list(storage.renew(leases)) == [True, False, False, True]


def test_no_lease_renewals_are_no_answers(storage):
    assert list(storage.renew([])) == []


def test_a_lease_renewal_under_another_fence_is_refused(stand):
    run = stand.start()
    run.claim("a")
    before = run.due()
    assert run.renew("a", fence="foreign") is False
    assert run.due() == before


@pytest.mark.parametrize("how", ["complete", "suspend", "retry", "fail"])
def test_a_lease_renewal_after_the_answer_is_refused(stand, how):
    run = stand.start()
    run.claim("a")
    getattr(run, how)("a")
    before = run.due()
    assert run.renew("a") is False
    assert run.due() == before


def test_a_lease_renewal_after_the_end_is_refused(stand):
    run = stand.start()
    run.claim("a")
    run.cancel()
    assert (run.renew("a"), run.due()) == (False, {})


def test_a_lease_renewal_for_an_unknown_run_or_step_is_refused(stand):
    assert stand.prepare().renew("a") is False
    assert stand.start().renew("b") is False


def test_who_applies_an_event_keeps_it_by_lease_renewals(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    run.claim("a")
    assert run.renew("a") is True


def test_a_renewed_step_is_not_taken(hasty):
    run = hasty.start()
    run.claim("a")
    run.probe.set_lease(hasty.storage, 30_000_000)
    assert run.renew("a") is True
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
    assert entry.fence not in (None, "old")
    assert run.load().steps["a"].fence == entry.fence


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
    run.fences["a"] = entry.fence
    assert getattr(run, how)("a").verdict is Verdict.APPLIED


def test_a_taken_attempt_is_followed_by_the_next(hasty):
    run = hasty.start()
    run.claim("a")
    [entry] = hasty.entries(1)
    run.fences["a"] = entry.fence
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
    assert first.fence != second.fence
    run.fences["a"] = first.fence
    assert run.retry("a").verdict is Verdict.STALE
    run.fences["a"] = second.fence
    assert run.retry("a").verdict is Verdict.APPLIED


def test_leases_that_run_out_together_have_fences_of_their_own(hasty):
    run = hasty.start(FORK)
    run.step("a")
    run.claim("b")
    run.claim("c")
    fences = {entry.fence for entry in hasty.entries(2)}
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
    assert (entry.kind, entry.dispatch, entry.fence) == (Due.REAPPLY, DispatchStep(Activation("a"), 1, 3), None)
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
            run.fences["a"] = entry.fence
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
    assert (first.kind, second.kind, first.fence != second.fence) == (Due.LEASE_EXPIRED, Due.LEASE_EXPIRED, True)


def test_an_event_that_takes_longer_than_the_limit_is_a_failed_attempt_at_once(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    run.claim("a", limit=-APPLY_MARGIN)
    assert run.renew("a") is True
    [entry] = stand.tick().entries
    assert (entry.kind, rescues(run)[-1][1]["reason"]) == (Due.TIMED_OUT, "time limit exceeded")
    assert run.complete("a").verdict is Verdict.STALE
    run.fences["a"] = entry.fence
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


# Messages that nobody claims


def test_a_message_that_nobody_claims_is_sent_again_under_a_new_token(lossy):
    run = lossy.start()
    [entry] = lossy.entries(1)
    assert (entry.kind, entry.run_id, entry.dispatch) == (Due.REDISPATCH, run.id, DispatchStep(Activation("a"), 1, 2))


def test_tokens_are_never_used_twice(lossy):
    lossy.start()
    assert [entry.dispatch.token for entry in lossy.entries(5)] == [2, 3, 4, 5, 6]


def test_sending_a_message_again_is_recorded_as_a_rescue(lossy):
    run = lossy.start()
    [entry] = lossy.entries(1)
    assert entry.sequence == 1
    assert rescues(run) == [
        (
            1,
            {"kind": "rescue", "step": "a", "attempt": 1, "reason": "message not claimed", "worker": "w1"},
        )
    ]


def test_a_message_sent_again_changes_no_status(lossy):
    run = lossy.start()
    lossy.entries(1)
    assert run.load().status is Status.PENDING


def test_a_message_sent_again_can_be_claimed(lossy):
    run = lossy.start()
    lossy.entries(1)
    claim = run.claim("a")
    assert (claim.first, claim.sequence) == (True, 2)


def test_a_claimed_message_is_not_sent_again(lossy):
    run = lossy.start()
    run.claim("a")
    lossy.calm()


def test_the_message_of_an_activated_step_is_sent_again(lossy):
    run = lossy.start()
    run.step("a")
    assert [(entry.kind, entry.dispatch.activation.step) for entry in lossy.entries(1)] == [(Due.REDISPATCH, "b")]


def test_the_message_of_a_retry_is_sent_again(lossy):
    run = lossy.start()
    run.claim("a")
    run.retry("a")
    assert [(entry.kind, entry.dispatch) for entry in lossy.entries(2)] == [
        (Due.RETRY, DispatchStep(Activation("a"), 2, 2)),
        (Due.REDISPATCH, DispatchStep(Activation("a"), 2, 3)),
    ]


@pytest.mark.parametrize("source", ["delivery", "timeout"])
def test_the_message_of_an_event_is_sent_again(lossy, source):
    run = lossy.start()
    run.wait_at("a", timeout=0 if source == "timeout" else None)
    if source == "delivery":
        run.deliver("go")
    else:
        assert lossy.entries(1)[0].kind is Due.TIMEOUT
    [entry] = lossy.entries(1)
    assert (entry.kind, entry.dispatch) == (Due.REDISPATCH, DispatchStep(Activation("a"), 1, 3))
    assert isinstance(run.claim("a"), Claim)


def test_an_ended_run_sends_nothing_again(lossy):
    run = lossy.start()
    run.cancel()
    lossy.calm()
    assert rescues(run) == []


# Seizing a step from its task


def test_a_step_is_seized_from_the_task_that_holds_it(stand):
    run = stand.start()
    run.claim("a", holder="task1")  # 1-3
    assert run.seize("a", holder="task1", fence="new").sequence == 4
    assert run.load().steps["a"].fence == "new"


@pytest.mark.parametrize("holder", ["task2", "", "None", "nil"])
def test_a_step_is_not_seized_from_another_task(stand, holder):
    run = stand.start()
    run.claim("a", holder="task1")
    before = run.load(), run.due(), list(run.history())
    assert run.seize("a", holder=holder) is None
    assert (run.load(), run.due(), list(run.history())) == before


def test_a_step_that_no_task_holds_is_not_seized(stand):
    run = stand.start()
    assert run.seize("a", holder="task1") is None
    run.claim("a")
    assert run.seize("a", holder="task1") is None
    assert run.seize("a", holder="") is None


def test_another_attempt_is_not_seized(stand):
    run = stand.start()
    run.claim("a", holder="task1")
    assert run.seize("a", 2, holder="task1") is None


def test_a_step_of_an_unknown_run_or_key_is_not_seized(stand):
    assert stand.prepare().seize("a", holder="task1") is None
    assert stand.start().seize("b", holder="task1") is None


@pytest.mark.parametrize("how", ["complete", "suspend", "retry", "fail"])
def test_a_step_that_was_answered_is_not_seized(stand, how):
    run = stand.start()
    run.claim("a", holder="task1")
    getattr(run, how)("a")
    assert run.seize("a", holder="task1") is None


def test_in_an_ended_run_nothing_is_seized(stand):
    run = stand.start()
    run.claim("a", holder="task1")
    run.cancel()
    assert run.seize("a", holder="task1") is None


def test_an_event_being_applied_is_not_seized(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    run.claim("a", holder="task1")
    assert run.seize("a", holder="task1") is None


def test_a_seizure_is_in_the_history(stand):
    run = stand.start()
    run.claim("a", holder="task1")
    run.seize("a", holder="task1")
    [entry] = run.history()
    assert (entry.sequence, entry.outcome, entry.detail) == (4, "", '{"kind":"rescue"}')


def test_a_seized_step_has_a_lease_of_its_own(stand, storage):
    run = stand.start()
    run.claim("a", holder="task1", limit=5_000_000)
    before = storage.now()
    run.seize("a", holder="task1")
    assert before + 30_000_000 <= run.due()["a"] <= storage.now() + 30_000_000


def test_who_lost_a_step_by_seizure_can_neither_commit_nor_renew(stand):
    run = stand.start()
    run.claim("a", holder="task1", fence="old")
    run.seize("a", holder="task1", fence="new")
    assert run.renew("a", fence="old") is False
    assert run.complete("a", fence="old", operation="oldc").verdict is Verdict.STALE


@pytest.mark.parametrize("how", ["retry", "fail"])
def test_who_seized_a_step_fails_its_attempt(stand, how):
    run = stand.start()
    run.claim("a", holder="task1")
    run.seize("a", holder="task1")
    commitment = getattr(run, how)("a")
    assert (commitment.verdict, commitment.sequence) == (Verdict.APPLIED, 5)


def test_a_step_is_seized_once(stand):
    run = stand.start()
    run.claim("a", holder="task1")
    run.seize("a", holder="task1", fence="new")
    assert run.seize("a", holder="task1", fence="newer") is None
    assert run.load().steps["a"].fence == "new"


def test_a_step_whose_lease_ran_out_is_not_seized_from_its_rescuer(hasty):
    run = hasty.start()
    run.claim("a", holder="task1")
    [entry] = hasty.entries(1)
    assert run.seize("a", holder="task1") is None
    assert run.load().steps["a"].fence == entry.fence


def test_of_many_that_seize_a_step_at_once_one_has_it(stand):
    run = stand.start()
    run.claim("a", holder="task1")
    barrier = Barrier(8)

    def seize(_):
        barrier.wait()
        return run.seize("a", holder="task1")

    with ThreadPoolExecutor(8) as pool:
        numbers = [lost.sequence for lost in pool.map(seize, range(8)) if lost is not None]
    assert (numbers, len(rescues(run))) == ([4], 1)


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
    run.fences["a"] = expired.fence
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
