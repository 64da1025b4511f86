"""Tests of pauses and of runs that a retry or a fork makes: nothing of them starts, and they keep what they need."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.claims import Refusal, Refused
from hephaestus_celery.storage.schema import PAUSED, PLAIN, RERUN
from hephaestus_celery.testing.conformance.sent import sent

DROPPED = Refusal(reason=Refused.PAUSED)
WIDE = 320
BRANCHES = [f"b{number}" for number in range(WIDE)]
FAN = {("a", "ok"): BRANCHES, **{(branch, "ok"): ["join"] for branch in BRANCHES}, ("join", "ok"): ["done"]}
MAKERS = {
    "retry": lambda run, step, **fields: run.retried(**fields),
    "fork": lambda run, step, **fields: run.forked(step, **fields),
}


@pytest.mark.parametrize("how", ["retry", "fork"])
@pytest.mark.parametrize("lane", [None, "0:work"])
def test_what_is_made_of_a_run_of_a_paused_workflow_starts_when_the_pause_ends(stand, how, lane):
    run = stand.start()
    run.step("a")
    run.cancel()
    stand.pause_workflow()
    again = MAKERS[how](run, "b", lane=lane)
    assert again.dispatched == []
    assert again.lanes() == again.due() == {}
    assert again.load().pauses
    assert again.claim("b") == DROPPED
    stand.calm()
    stand.unpause_workflow()
    assert sent(stand.entries()) == [(again.id, "b", 1, 1)]
    again.step("b")
    assert again.load().status is Status.COMPLETED


@pytest.mark.parametrize("how", ["retry", "fork"])
def test_what_is_made_of_a_wide_run_of_a_paused_workflow_starts_when_the_pause_ends(stand, how):
    run = stand.start(FAN)
    run.step("a")
    run.cancel()
    stand.pause_workflow()
    again = MAKERS[how](run, "b7", lane="0:work")
    assert again.dispatched == []
    assert again.lanes() == again.due() == {}
    stand.calm()
    stand.unpause_workflow()
    found = sent(stand.entries(WIDE))
    assert sorted(found) == sorted((again.id, branch, 1, 1) for branch in BRANCHES)


def test_a_fork_of_a_run_that_is_paused_itself_goes_on(stand):
    run = stand.start()
    run.step("a")
    run.pause()
    again = run.forked("b", instance_id="order::b")
    assert [dispatch.activation.step for dispatch in again.dispatched] == ["b"]
    assert not again.load().pauses


@pytest.mark.parametrize("how", ["retry", "fork"])
def test_a_run_that_a_retry_or_fork_has_made_keeps_its_schema_number_after_a_pause(stand, how):
    run = stand.start()
    run.step("a")
    run.cancel()
    again = MAKERS[how](run, "b")
    assert again.schema() == RERUN
    for _ in range(2):
        again.pause()
        assert again.schema() == max(RERUN, PAUSED)
        again.unpause()
        assert again.schema() == RERUN


def test_a_plain_run_has_its_schema_number_back_after_a_pause_and_when_it_ends(stand):
    run, other = stand.start(), stand.start(instance_id="order::b")
    assert run.schema() == PLAIN
    run.pause()
    other.pause()
    assert run.schema() == PAUSED
    run.unpause()
    other.cancel()
    assert run.schema() == other.schema() == PLAIN


def test_a_run_that_a_retry_has_made_keeps_its_schema_number_when_it_ends_paused(stand):
    run = stand.start()
    run.cancel()
    again = run.retried()
    again.pause()
    again.cancel()
    assert again.schema() == RERUN
