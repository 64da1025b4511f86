"""Tests of pauses: what is lost or in a queue meanwhile, the pause of a whole workflow, and a pause within another's end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.claims import Refusal, Refused
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.testing.conformance.sent import kinds, sent

LANE, OTHER = "0:work", "5:work"
FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
HOUR = 3_600_000_000
TIMEOUT = timedelta(milliseconds=60)
DROPPED = Refusal(reason=Refused.PAUSED)

# Losses


def test_an_attempt_whose_lease_expires_is_lost_as_ever_and_its_next_one_waits(hasty):
    run = hasty.start()
    run.claim("a")
    run.pause()
    [entry] = hasty.entries()
    assert (entry.kind, entry.held) == (Due.LEASE_EXPIRED, False)
    run.fences["a"] = entry.attempt.fence
    run.retry("a")
    hasty.calm()
    run.unpause()
    assert sent(hasty.entries()) == [(run.id, "a", 2, 2)]


def test_a_worker_that_is_lost_with_an_event_is_told_and_the_event_waits(hasty):
    run = hasty.start()
    run.wait_at("a")
    run.deliver()
    run.claim("a")
    run.pause()
    [entry] = hasty.entries()
    assert (entry.kind, entry.held, entry.sequence > 0) == (Due.REAPPLY, True, True)
    hasty.calm()
    run.unpause()
    assert sent(hasty.entries()) == [(run.id, "a", 1, 3)]


def test_a_message_without_a_lane_is_not_looked_for(lossy):
    run = lossy.start()
    run.pause()
    lossy.calm()
    assert run.due() == {}
    assert kinds(run) == ["pause"]
    run.unpause()
    assert sent(lossy.entries()) == [(run.id, "a", 1, 2)]


def test_what_is_sent_after_a_pause_is_looked_for_as_soon_as_a_first_message(stand):
    run = stand.start()
    for token in (1, 2):
        run.resend("a", 1, token)
    run.pause()
    run.claim("a", token=3)
    run.unpause()
    stand.entries()
    assert run.due()["a"] <= stand.storage.now() + 30_000_000


def test_a_message_that_counts_as_lost_is_not_sent_again(stand, pausing):
    run = stand.start(lane=LANE)
    pausing(run)
    assert list(run.resend("a")) == []
    assert run.load().steps["a"].dispatch == 1


def test_a_backlog_is_not_looked_at_while_it_is_paused(stand_with):
    stand = stand_with(dispatch_timeout=TIMEOUT)
    runs = [stand.start(instance_id=f"order::a{number}", lane=LANE) for number in range(3)]
    stand.pause_workflow()
    _let_looks_pass(stand)
    assert [run.lanes() for run in runs] == [{}, {}, {}]
    next_in = stand.tick().next_in
    assert next_in is None or next_in > HOUR
    stand.unpause_workflow()
    assert [run.lanes() for run in runs] == [{"a": LANE}] * 3
    assert runs[0].claim("a", token=1).first


def test_what_nothing_looked_for_is_sent_again_if_it_was_dropped_after_all(stand_with):
    stand = stand_with(dispatch_timeout=TIMEOUT)
    run = stand.start(lane=LANE)
    run.pause()
    _let_looks_pass(stand)
    assert run.claim("a", token=1) == DROPPED
    run.unpause()
    assert sent(stand.entries()) == [(run.id, "a", 1, 2)]


def test_a_message_may_turn_out_to_be_in_another_queue_while_nothing_looks_for_it(stand_with):
    stand = stand_with(dispatch_timeout=TIMEOUT)
    run = stand.start(lane=LANE)
    run.pause()
    _let_looks_pass(stand)
    run.redirect("a", lane=OTHER)
    assert run.lanes() == {}
    run.unpause()
    assert run.lanes() == {"a": OTHER}


def test_a_message_may_turn_out_to_be_in_another_queue(stand, pausing):
    run = stand.start(lane=LANE)
    pausing(run)
    run.redirect("a", lane=OTHER)
    assert run.lanes() == {"a": OTHER}


def _let_looks_pass(stand):
    until = stand.storage.now() + 4 * TIMEOUT // timedelta(microseconds=1)
    while stand.storage.now() <= until:
        tick = stand.tick()
        assert (list(tick.entries), list(tick.lanes)) == ([], [])


# The end of a run


def test_a_paused_run_can_be_cancelled(stand, pausing):
    run = stand.start(FORK, lane=LANE)
    run.step("a")
    go_on = pausing(run)
    run.claim("b")
    assert run.cancel() is not None
    assert (run.load().status, bool(run.load().pauses)) == (Status.CANCELLED, False)
    go_on()
    stand.calm()
    assert (run.due(), run.lanes()) == ({}, {})


# A workflow


def test_a_workflow_is_paused_once(stand):
    assert stand.pause_workflow(by="ann")
    assert not stand.pause_workflow(by="bob")
    assert {family: mark.by for family, mark in stand.storage.paused_workflows().items()} == {"shop.Order": "ann"}
    assert stand.unpause_workflow()
    assert not stand.unpause_workflow()
    assert stand.storage.paused_workflows() == {}


def test_a_repeated_pause_of_a_workflow_gets_the_first_reply(stand):
    assert stand.pause_workflow(operation="once")
    assert stand.pause_workflow(operation="once")
    assert stand.unpause_workflow(operation="twice")
    assert stand.unpause_workflow(operation="twice")


def test_a_run_of_a_paused_workflow_is_started_and_sends_nothing(stand):
    stand.pause_workflow(by="ann")
    run = stand.start(lane=LANE)
    assert run.dispatched == []
    assert (run.due(), run.lanes()) == ({}, {})
    loaded = run.load()
    assert (loaded.status, loaded.pauses.run, loaded.pauses.workflow.by) == (Status.PENDING, None, "ann")
    stand.calm()
    stand.unpause_workflow()
    assert sent(stand.entries()) == [(run.id, "a", 1, 1)]
    assert run.claim("a").first


def test_another_workflow_goes_on(stand):
    stand.pause_workflow()
    run = stand.start(name="shop.Other", family="shop.Other")
    assert run.dispatched == [DispatchStep(Activation("a"), 1, 1)]
    assert run.claim("a").first


def test_a_retry_of_a_run_of_a_paused_workflow_sends_nothing(stand):
    run = stand.start()
    run.claim("a")
    run.fail("a")
    stand.pause_workflow()
    again = run.retried()
    assert again.dispatched == []
    assert again.claim("a") == DROPPED
    stand.calm()
    stand.unpause_workflow()
    assert sent(stand.entries()) == [(again.id, "a", 1, 1)]


def test_all_versions_of_a_workflow_are_paused(stand):
    stand.pause_workflow()
    run = stand.start(version=2)
    assert run.claim("a", versions=(1, 2)) == DROPPED


def test_all_runs_of_a_workflow_go_on(stand):
    stand.pause_workflow()
    runs = [stand.start(instance_id=f"order::a{number}") for number in range(45)]
    stand.unpause_workflow()
    assert {run for run, *_ in sent(stand.entries(45))} == {run.id for run in runs}
    stand.calm()


@pytest.mark.parametrize("last", ["run", "workflow"])
def test_a_run_that_is_paused_for_both_reasons_goes_on_when_both_are_gone(stand, last):
    run = stand.start()
    run.pause()
    stand.pause_workflow()
    run.claim("a")
    calls = {"run": run.unpause, "workflow": stand.unpause_workflow}
    calls.pop("run" if last == "workflow" else "workflow")()
    stand.calm()
    assert run.load().pauses
    calls[last]()
    assert sent(stand.entries()) == [(run.id, "a", 1, 2)]


def test_what_a_completion_starts_in_a_paused_workflow_is_sent_and_dropped(stand):
    run = stand.start(FORK, lane=LANE)
    run.claim("a")
    stand.pause_workflow()
    commitment = run.complete("a")
    assert [dispatch.activation.step for dispatch in commitment.dispatches] == ["b", "c"]
    assert run.claim("b", token=1) == run.claim("c", token=1) == DROPPED
    assert (run.due(), run.lanes()) == ({}, {})
    stand.calm()
    stand.unpause_workflow()
    assert sent(stand.entries(2)) == [(run.id, "b", 1, 2), (run.id, "c", 1, 2)]
    run.step("b")
    assert run.step("c").status_after is Status.COMPLETED


def test_what_a_completion_starts_in_a_paused_workflow_may_wait_in_its_queue_until_it_goes_on(stand):
    run = stand.start(FORK, lane=LANE)
    run.claim("a")
    stand.pause_workflow()
    run.complete("a")
    stand.unpause_workflow()
    assert run.lanes() == {"b": LANE, "c": LANE}
    assert run.claim("b", token=1).attempt.number == 1
    stand.calm()


def test_a_completion_holds_what_it_starts_if_the_run_is_paused_with_its_workflow(stand):
    run = stand.start(FORK)
    run.claim("a")
    stand.pause_workflow()
    run.pause()
    assert list(run.complete("a").dispatches) == []
    stand.unpause_workflow()
    stand.calm()
    run.unpause()
    assert sent(stand.entries(2)) == [(run.id, "b", 1, 1), (run.id, "c", 1, 1)]


# A pause within the end of another


def test_what_is_paused_again_before_it_was_sent_waits(stand, pausing):
    run = stand.start()
    go_on = pausing(run)
    run.claim("a")
    go_on()
    go_on = pausing(run)
    stand.calm()
    assert run.due() == {}
    go_on()
    assert sent(stand.entries()) == [(run.id, "a", 1, 2)]
    stand.calm()


def test_a_wide_run_goes_on_in_slices_and_may_be_paused_in_between(stand, pausing):
    width = 250
    edges = {(f"s{number:03}", "ok"): ["done"] for number in range(width)}
    run = stand.start(edges)
    go_on = pausing(run)
    for number in range(width):
        assert run.claim(f"s{number:03}") == DROPPED
    go_on()
    first = {step for _, step, _, _ in sent(stand.tick().entries)}
    go_on = pausing(run)
    for step in first:
        run.claim(step)
    _settle_down(stand)
    go_on()
    sent_then = [(step, token) for _, step, _, token in sent(stand.entries(width))]
    assert dict(sent_then) == {f"s{number:03}": 3 if f"s{number:03}" in first else 2 for number in range(width)}
    assert len(sent_then) == width
    stand.calm()


def _settle_down(stand):
    tick = stand.tick()
    while tick.more:
        assert list(tick.entries) == []
        tick = stand.tick()
    assert list(tick.entries) == []


# Listings


def test_a_listing_says_who_is_paused_and_why(stand):
    own, other = stand.start(), stand.start(instance_id="order::b", name="shop.Other", family="shop.Other")
    free, ended = (stand.start(instance_id=f"order::{name}") for name in ("c", "d"))
    own.pause(by="ann")
    stand.pause_workflow("shop.Other", by="bob")
    ended.cancel()
    runs, _ = stand.storage.list_runs(Query(paused=True))
    assert {
        run_id: (run.pauses.run and run.pauses.run.by, run.pauses.workflow and run.pauses.workflow.by)
        for run_id, run in runs
    } == {
        own.id: ("ann", None),
        other.id: (None, "bob"),
    }
    runs, _ = stand.storage.list_runs(Query(paused=False))
    assert {run_id for run_id, _ in runs} == {free.id, ended.id}
