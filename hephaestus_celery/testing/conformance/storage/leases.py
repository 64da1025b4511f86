"""Tests of leases: renewing one keeps the attempt, and an expired one is rescued, as a lost message is."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.limits import APPLY_MARGIN

HOUR = 3_600_000_000


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
    assert list(storage.renew([run.held("a") for run in runs])) == [True, False, False, True]


def test_each_lease_is_renewed_for_its_own_time(stand, storage):
    runs = [stand.start(instance_id=f"order::{number}") for number in range(3)]
    for run in runs:
        run.claim("a")
    before = storage.now()
    leases = [HOUR, 30_000_000, HOUR]
    assert (
        list(storage.renew([run.held("a", lease=lease) for run, lease in zip(runs, leases, strict=True)])) == [True] * 3
    )
    after = storage.now()
    for run, lease in zip(runs, leases, strict=True):
        assert before + lease <= run.due()["a"] <= after + lease


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
