"""Tests of steps that have not ended when their run begins to undo: they are dropped, or end late, and nothing follows."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.testing.conformance.trips import TRIP, failing, sent, standing_of, trip


def test_what_nobody_has_begun_is_not_begun_any_more(stand):
    run = failing(stand)
    run.fail("c")
    assert run.claim("x").reason == "stale"
    assert set(run.due()) == {"undo_b"}


def test_a_step_that_backs_off_is_dropped(stand):
    run = failing(stand)
    run.claim("x")
    run.retry("x", delay=3_600_000_000)
    run.fail("c")
    state = run.load().steps["x"]
    assert (state.status.value, state.attempt, state.is_dropped, state.backing_off) == ("skipped", 2, True, False)
    assert "x" not in run.due()


def test_a_step_that_waits_is_dropped_with_its_timer(stand):
    run = failing(stand)
    run.wait_at("x", timeout=3_600_000_000)
    run.fail("c")
    assert (standing_of(run)["x"], set(run.due())) == ("skipped", {"undo_b"})
    assert run.deliver().outcome == "not_waiting"


def test_a_step_whose_event_nobody_has_taken_is_dropped(stand):
    run = failing(stand)
    run.wait_at("x")
    run.deliver()
    run.fail("c")
    assert standing_of(run)["x"] == "skipped"
    assert run.claim("x").reason == "stale"


def test_a_step_that_is_executed_holds_the_compensations_up(stand):
    run = failing(stand)
    run.claim("x")
    commitment = run.fail("c")
    assert (sent(commitment), commitment.status_after, commitment.active) == ([], Status.RUNNING, 1)
    late = run.complete("x", result='{"n":1}')
    assert (late.verdict, late.status_after, sent(late)) == (Verdict.LATE, Status.RUNNING, ["undo_x"])
    assert standing_of(run)["x"] == "completed"
    assert run.load().results["x"] == '{"n":1}'
    assert "done" not in standing_of(run)
    assert run.history()[-1].outcome == "discarded"
    order = []
    for key in ("undo_x", "undo_b", "undo_a"):
        assert run.load().status is Status.RUNNING
        run.step(key)
        order.append(key)
    assert (run.load().status, list(order)) == (Status.FAILED, ["undo_x", "undo_b", "undo_a"])


def test_nothing_follows_a_step_that_ends_late(stand):
    run = trip(
        stand, {("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}, {"a": "undo_a"}
    )
    run.step("a")
    run.claim("b")
    run.claim("c")
    run.fail("c")
    assert list(run.complete("b").activated) == []
    assert "d" not in standing_of(run)
    assert standing_of(run)["undo_a"] == "active"


@pytest.mark.parametrize("end", ["fail", "retry"])
def test_a_step_that_fails_late_is_not_tried_again(stand, end):
    run = failing(stand)
    run.claim("x")
    run.fail("c")
    late = run.fail("x") if end == "fail" else run.retry("x", delay=1_000_000)
    assert (late.verdict, sent(late)) == (Verdict.LATE, ["undo_b"])
    assert standing_of(run)["x"] == "failed"
    assert run.history()[-1].outcome == "failed"
    assert "x" not in run.due()
    assert (run.load().failed_step, json.loads(run.load().failure)["message"]) == ("c", "no")


def test_a_failure_that_a_transition_would_take_ends_late_too(stand):
    edges = {**TRIP, ("x", FAILED): ["f"], ("f", "ok"): ["done"]}
    run = failing(stand, edges=edges)
    run.claim("x")
    run.fail("c")
    late = run.complete("x", FAILED, result='{"kind":"error","type":"E","message":"m"}')
    assert (late.verdict, sent(late), standing_of(run)["x"]) == (Verdict.LATE, ["undo_b"], "failed")
    assert "x" not in run.load().results
    assert run.history()[-1].outcome == "failed"


def test_a_step_that_would_wait_late_is_dropped(stand):
    run = failing(stand)
    run.claim("x")
    run.fail("c")
    late = run.suspend("x", timeout=60_000_000)
    assert (late.verdict, sent(late), standing_of(run)["x"]) == (Verdict.LATE, ["undo_b"], "skipped")
    assert run.history()[-1].outcome == "discarded"
    assert set(run.due()) == {"undo_b"}


def test_an_event_that_is_being_applied_completes_its_step_late(stand):
    run = failing(stand)
    run.wait_at("x")
    run.deliver()
    run.claim("x")
    assert sent(run.fail("c")) == []
    late = run.complete("x", result='{"x":1}')
    assert (late.verdict, sent(late), standing_of(run)["x"]) == (Verdict.LATE, ["undo_x"], "completed")


def test_an_event_that_is_dropped_late_drops_its_step(stand):
    run = failing(stand)
    run.wait_at("x", checks=True)
    run.deliver()
    run.claim("x")
    run.fail("c")
    late = run.discard("x")
    assert (late.verdict, sent(late), standing_of(run)["x"]) == (Verdict.LATE, ["undo_b"], "skipped")


def test_the_lease_of_a_late_step_is_renewed_and_it_is_not_wanted(stand):
    run = failing(stand)
    run.claim("x")
    run.fail("c")
    held = run.held("x")
    assert list(run.storage.renew([held])) == [True]
    assert list(run.storage.renew([held], wanted=True)) == [False]


def test_a_late_step_whose_worker_is_lost_fails(stand):
    run = failing(stand)
    run.claim("x", holder="task")
    run.fail("c")
    assert run.seize("x", holder="task") is not None
    late = run.retry("x", delay=1)
    assert (late.verdict, sent(late), standing_of(run)["x"]) == (Verdict.LATE, ["undo_b"], "failed")


def test_an_event_whose_applier_is_lost_late_is_not_applied_again(stand):
    run = failing(stand)
    run.wait_at("x")
    run.deliver()
    run.claim("x", holder="task")
    run.fail("c")
    run.seize("x", holder="task")
    [entry] = stand.entries(1)
    assert entry.attempt is not None
    run.fences["x"] = entry.attempt.fence
    assert sent(run.fail("x")) == ["undo_b"]


def test_a_late_step_may_end_the_run(stand):
    run = trip(stand, {("a", "ok"): ["done"], ("b", "ok"): ["done"]}, {"b": "undo_b"})
    run.claim("a")
    run.claim("b")
    run.fail("a")
    late = run.fail("b")
    assert (late.verdict, late.status_after, late.ending) == (Verdict.LATE, Status.FAILED, late.sequence + 1)
    assert run.fail("b") == late


def test_a_large_run_drops_what_nobody_has_begun(stand):
    branches = [f"b{number}" for number in range(600)]
    edges = {("a", "ok"): branches, **{(key, "ok"): ["done"] for key in branches}}
    run = trip(stand, edges, {"a": "undo_a", "b1": "undo_b1"})
    run.step("a")
    run.step("b1")
    run.claim("b2")
    run.claim("b3")
    run.fail("b2")
    assert run.claim("b4").reason == "stale"
    drop_rest(stand, run)
    assert standing_of(run)["b4"] == "skipped"
    assert "undo_b1" not in standing_of(run)
    run.retry("b3")
    assert standing_of(run)["undo_b1"] == "active"
    run.step("undo_b1")
    assert run.step("undo_a").status_after is Status.FAILED


def drop_rest(stand, run):
    """What schedulers do about a large run that undoes."""
    while any(state.status.value == "active" and not state.fence for state in run.storage.read_states(run.id).values()):
        for entry in stand.tick().entries:
            while entry.kind == "undo" and run.storage.undo(run.id, durations=run.durations).verdict is Verdict.APPLIED:
                pass
