"""Tests of claims: one worker gets the attempt, with all that executing it needs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.limits import TURNED_AWAY
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.storage.claims import Claim, Refusal, Refused


def test_the_first_claim_makes_the_run_running(stand):
    run = stand.start()
    claim = run.claim("a")
    assert (claim.first, claim.run.status, run.load().status) == (True, Status.RUNNING, Status.RUNNING)


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_claim_hands_over_whatever_characters_there_are(stand, ascii_only):
    text = json.dumps({"a\x1fb": "\x00\x1f\n\x7f \u2028 \xe9"}, ensure_ascii=ascii_only)
    run = stand.start(initial=text)
    run.claim("a")
    run.complete("a", result=text, metadata=text)
    claim = run.claim("b", holder="task\x1f1")
    found = claim.run
    assert (found.initial, found.results["a"], found.metadata["a"]) == (text, text, text)
    assert (found.steps["b"].holder, found.steps["a"].status) == ("task\x1f1", StepStatus.COMPLETED)


def test_data_of_an_event_is_handed_over_whatever_characters_it_has(stand):
    text = json.dumps({"a\x1fb": "\x1f"})
    run = stand.start()
    run.wait_at("a")
    run.deliver("go", data=text)
    assert run.claim("a").data == text


def test_a_later_claim_is_not_the_first(stand):
    run = stand.start()
    run.step("a")
    assert run.claim("b").first is False


def test_the_first_claim_reserves_the_start_the_advance_and_the_step_start(stand):
    run = stand.start()
    assert run.claim("a").sequence == 1
    assert run.complete("a").sequence == 4


def test_a_later_claim_reserves_the_step_start_alone(stand):
    run = stand.start()
    run.step("a")  # 1-3 claim, 4-6 stop, transition, advance
    assert run.claim("b").sequence == 7
    assert run.complete("b").sequence == 8


def test_a_claim_says_when_the_step_was_queued_and_claimed(stand, storage):
    run = stand.start()
    claim = run.claim("a")
    assert claim.queued_at == claim.run.started_at <= claim.claimed_at <= storage.now()


def test_a_claim_brings_the_context_and_the_results_so_far(stand):
    run = stand.start()
    run.step("a", result='{"n":1}', metadata='{"m":2}')
    found = run.claim("b").run
    assert (found.header, found.initial, found.results, found.metadata) == (
        run.new.header,
        run.new.initial,
        {"a": '{"n":1}'},
        {"a": '{"m":2}'},
    )


def test_a_claim_of_a_step_with_ancestors_brings_theirs_and_its_own_config(stand):
    run = stand.start(
        {("a", "ok"): ["b", "c"], ("b", "ok"): [("d", {"k": 1})], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}
    )
    run.step("a", result='{"a":1}')
    run.step("b", result='{"b":1}', metadata='{"m":1}')
    run.step("c", result='{"c":1}')
    found = run.claim("d", predecessors=["a", "b"]).run
    assert found.results["a"] == '{"a":1}'
    assert (found.results["b"], found.metadata["b"], found.configs["d"]) == ('{"b":1}', '{"m":1}', '{"k": 1}')
    assert found.steps["d"].status is StepStatus.ACTIVE


def test_a_claim_with_very_many_ancestors_is_answered(stand):
    run = stand.start()
    run.step("a", result='{"a":1}')
    found = run.claim("b", predecessors=[*(f"step{number}" for number in range(5000)), "a"]).run
    assert found.results == {"a": '{"a":1}'}


def test_a_claimed_step_carries_the_fence(stand):
    run = stand.start()
    claim = run.claim("a", fence="mine")
    assert (claim.run.steps["a"].fence, run.load().steps["a"].fence) == ("mine", "mine")


def test_a_claimed_step_is_due_after_its_lease(stand):
    run = stand.start()
    claim = run.claim("a")
    assert run.due() == {"a": claim.claimed_at + 30_000_000}


def test_a_second_claim_finds_the_attempt_taken(stand):
    run = stand.start()
    run.claim("a")
    assert run.claim("a") == Refusal(reason=Refused.TAKEN)


def test_of_many_claims_at_once_exactly_one_is_given(stand):
    run = stand.start()
    barrier = Barrier(12)

    def claim(_):
        barrier.wait()
        return isinstance(run.claim("a"), Claim)

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(claim, range(12))) == 1


@pytest.mark.parametrize("attempt", [2, 99])
def test_an_attempt_that_is_not_the_current_one_is_stale(stand, attempt):
    assert stand.start().claim("a", attempt) == Refusal(reason=Refused.STALE)


def test_a_step_that_nothing_has_reached_is_stale(stand):
    assert stand.start().claim("b") == Refusal(reason=Refused.STALE)


def test_a_completed_step_is_stale(stand):
    run = stand.start()
    run.step("a")
    assert run.claim("a") == Refusal(reason=Refused.STALE)


def test_a_step_that_waits_for_an_event_is_stale(stand):
    run = stand.start()
    run.wait_at("a")
    assert run.claim("a") == Refusal(reason=Refused.STALE)


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_a_step_of_an_ended_run_is_stale(stand, end):
    run = stand.start({("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]})
    run.step("a")
    run.claim("b")
    run.fail("b") if end == "fail" else run.cancel()
    assert run.claim("c") == Refusal(reason=Refused.STALE)


def test_an_unknown_run_is_refused(stand):
    assert stand.prepare().claim("a") == Refusal(reason=Refused.UNKNOWN_RUN)


def test_an_unknown_version_is_refused_by_name(stand):
    refusal = stand.start(version=3).claim("a", versions=(1, 2))
    assert refusal == Refusal(reason=Refused.UNKNOWN_VERSION, detail="shop.Order version 3")


def test_a_worker_that_knows_no_version_is_refused(stand):
    assert stand.start().claim("a", versions=()).reason is Refused.UNKNOWN_VERSION


def test_a_message_that_went_to_the_wrong_worker_is_due_again_soon(stand):
    run = stand.start()
    run.claim("a", versions=())
    soon = run.due()["a"]
    assert soon <= stand.storage.now() + TURNED_AWAY
    run.claim("a", versions=())
    assert run.due()["a"] == soon


def test_it_is_due_later_each_time(stand):
    run = stand.start()
    run.claim("a", versions=())
    [entry] = stand.entries()
    assert (entry.kind, entry.dispatch.token) == (Due.REDISPATCH, 2)
    now = stand.storage.now()
    run.claim("a", versions=())
    assert now + TURNED_AWAY < run.due()["a"] <= stand.storage.now() + 2 * TURNED_AWAY


def test_it_is_sent_again_soon_though_nothing_was_to_come(stand):
    run = stand.start()
    run.probe.lose_due(stand.storage, run.id, "a")
    run.claim("a", versions=())
    assert run.due()["a"] <= stand.storage.now() + TURNED_AWAY


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_wrong_worker_hastens_nothing_that_a_right_one_executes(stand, attempt):
    run = stand.start()
    run.claim("a")
    due = run.due()
    run.claim("a", attempt, versions=())
    assert run.due() == due


def test_a_wrong_worker_hastens_no_attempt_that_rests(stand):
    run = stand.start()
    run.claim("a")
    run.retry("a", delay=60_000_000)
    due = run.due()
    run.claim("a", 2, versions=())
    assert run.due() == due


def test_an_event_that_a_wrong_worker_was_to_apply_is_sent_again_soon(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    before = run.due()["a"]
    run.claim("a", versions=())
    assert run.due()["a"] <= min(before, stand.storage.now() + 2 * TURNED_AWAY)


def test_a_refused_claim_changes_nothing(stand):
    run = stand.start()
    before = run.load(), run.due()
    run.claim("a", 2)
    run.claim("a", 2, versions=(2,))
    run.claim("b")
    assert (run.load(), run.due()) == before


def test_steps_are_named_freely(stand):
    run = stand.start({("cancel", "ok"): ["été:1"], ("été:1", "ok"): ["h"], ("h", "ok"): ["done"]})
    run.step("cancel")
    run.step("été:1", result='{"n":1}')
    run.step("h")
    stored = run.load()
    assert (stored.status, set(stored.steps)) == (Status.COMPLETED, {"cancel", "été:1", "h", "done"})
