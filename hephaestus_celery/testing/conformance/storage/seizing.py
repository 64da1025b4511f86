"""Tests of seizing: an attempt is taken from a task that has ended without a commit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.testing.conformance.sent import rescues

# Seizing a step from its task


def test_a_step_is_seized_from_the_task_that_holds_it(stand):
    run = stand.start()
    run.claim("a", holder="task1")  # 1-3
    assert run.seize("a", holder="task1", fence="new").sequence == 4
    assert run.load().steps["a"].fence == "new"


def test_who_seizes_a_step_is_given_its_attempt(stand):
    run = stand.start()
    claimed = run.claim("a", holder="task1").attempt
    run.durations = replace(run.durations, lease=7_000_000)
    seized = run.seize("a", holder="task1", fence="new").attempt
    assert seized == replace(claimed, fence="new", lease=7_000_000)


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
    assert (entry.sequence, entry.outcome) == (4, "")
    assert rescues(run) == [(4, {"kind": "rescue", "step": "a", "attempt": 1, "reason": "lost", "worker": "w1"})]


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
    assert run.load().steps["a"].fence == entry.attempt.fence


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
