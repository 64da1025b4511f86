"""Tests of undoing: a run that does not complete undoes what has completed, the last step first, and ends then."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.exceptions import RunStateError
from hephaestus_celery.storage.queries import DataKind
from hephaestus_celery.storage.schema import EDGES

TRIP = {
    ("a", "ok"): ["b"],
    ("b", "ok"): ["c", "x"],
    ("c", "ok"): ["done"],
    ("x", "ok"): ["done"],
}
UNDO = {"a": "undo_a", "b": "undo_b", "x": "undo_x"}


def trip(stand, edges=TRIP, undo=UNDO, **fields):
    """A run of a workflow with compensations."""
    return stand.start(edges, compensations=undo, schema=EDGES, **fields)


def failing(stand, **fields):
    """A run in which a and b have completed, c fails, and x was not begun."""
    run = trip(stand, **fields)
    run.step("a")
    run.step("b")
    run.claim("c")
    return run


def standing_of(run):
    return {key: step.status.value for key, step in run.load().steps.items()}


def sent(commitment):
    return [dispatch.activation.step for dispatch in commitment.dispatches]


def test_a_run_that_fails_undoes_the_last_step_first(stand):
    run = failing(stand)
    commitment = run.fail("c")
    assert (commitment.verdict, commitment.status_after, commitment.undoes) == (Verdict.APPLIED, Status.RUNNING, True)
    assert (sent(commitment), commitment.active) == (["undo_b"], 1)
    assert standing_of(run) == {
        "a": "completed",
        "b": "completed",
        "c": "failed",
        "x": "skipped",
        "undo_b": "active",
    }
    commitment = run.step("undo_b", result='{"back":1}')
    assert (sent(commitment), commitment.status_after, list(commitment.activated)) == (["undo_a"], Status.RUNNING, [])
    commitment = run.step("undo_a")
    assert (commitment.status_after, list(commitment.completed)) == (Status.FAILED, ["a", "b"])
    assert commitment.finished_at is not None
    assert commitment.ending == commitment.sequence + 3
    assert (run.load().failed_step, json.loads(run.load().failure)["message"]) == ("c", "no")
    assert run.due() == {}


def test_the_state_says_which_step_a_compensation_undoes(stand):
    run = failing(stand)
    run.fail("c")
    assert run.load().steps["undo_b"].compensates == "b"
    run.step("undo_b")
    assert run.load().steps["undo_b"].compensates == "b"


def test_the_stored_run_says_what_is_undone_and_how_far_it_is(stand):
    run = failing(stand)
    assert (run.load().undo_count, run.load().undoing) == (2, None)
    run.fail("c")
    undoing = run.load().undoing
    assert (undoing.ending, undoing.left) == (Status.FAILED, 1)
    found = run.storage.read_data(run.id, DataKind.UNDO, ["1", "2", "3"])
    assert {number: json.loads(text)[:2] for number, text in found.items()} == {
        "1": ["a", "undo_a"],
        "2": ["b", "undo_b"],
    }
    assert run.load().undo == found


def test_a_run_without_compensations_keeps_nothing_of_them(stand):
    run = stand.start()
    run.step("a")
    assert (run.load().undo_count, run.load().undoing, run.load().undo) == (None, None, {})


def test_a_run_in_which_nothing_was_to_be_undone_ends_at_once(stand):
    run = trip(stand)
    run.claim("a")
    commitment = run.fail("a")
    assert (commitment.status_after, commitment.undoes, sent(commitment)) == (Status.FAILED, False, [])


def test_numbers_of_events_have_no_gap(stand):
    run = failing(stand)
    first = run.fail("c").sequence
    claimed = run.claim("undo_b").sequence
    completed = run.complete("undo_b").sequence
    run.claim("undo_a")
    last = run.complete("undo_a")
    assert [claimed - first, completed - claimed, last.sequence - completed, last.ending - last.sequence] == [
        2,
        1,
        4,
        3,
    ]


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


def test_a_step_whose_failure_was_taken_is_not_undone(stand):
    edges = {("a", "ok"): ["b"], ("a", FAILED): ["b"], ("b", "ok"): ["done"]}
    run = trip(stand, edges, {"a": "undo_a"})
    run.step("a", FAILED, result='{"kind":"error","type":"E","message":"m"}')
    run.claim("b")
    assert run.fail("b").status_after is Status.FAILED


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


def test_a_compensation_is_wanted_until_the_run_has_ended(stand):
    run = failing(stand)
    run.fail("c")
    run.claim("undo_b")
    assert list(run.storage.renew([run.held("undo_b")], wanted=True)) == [True]
    run.cancel()
    assert list(run.storage.renew([run.held("undo_b")], wanted=True)) == [False]


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


def test_a_compensation_is_tried_again_and_waits_as_any_step(stand):
    run = failing(stand)
    run.fail("c")
    run.claim("undo_b")
    assert run.retry("undo_b").verdict is Verdict.APPLIED
    [entry] = stand.entries(1)
    assert (entry.kind, entry.dispatch.attempt) == ("retry", 2)
    run.claim("undo_b", 2)
    commitment = run.suspend("undo_b")
    assert (commitment.verdict, commitment.status_after) == (Verdict.APPLIED, Status.RUNNING)
    assert run.load().status is Status.RUNNING
    assert run.deliver().outcome == "accepted"
    run.claim("undo_b", 2)
    assert sent(run.complete("undo_b")) == ["undo_a"]


def test_a_compensation_that_fails_is_noted_and_the_others_go_on(stand):
    run = failing(stand)
    run.fail("c")
    run.claim("undo_b")
    commitment = run.fail("undo_b", failure='{"kind":"error","type":"E","message":"other"}')
    assert (commitment.verdict, commitment.status_after, sent(commitment)) == (
        Verdict.APPLIED,
        Status.RUNNING,
        ["undo_a"],
    )
    run.claim("undo_a")
    commitment = run.fail("undo_a")
    assert (commitment.status_after, commitment.ending) == (Status.FAILED, commitment.sequence + 1)
    assert {key: standing_of(run)[key] for key in ("undo_a", "undo_b")} == {"undo_a": "failed", "undo_b": "failed"}
    assert (run.load().failed_step, json.loads(run.load().failure)["message"]) == ("c", "no")


def test_a_compensation_whose_message_is_lost_is_sent_again(stand):
    run = failing(stand)
    run.fail("c")
    run.probe.set_due(run.storage, run.id, "undo_b", 0)
    [entry] = stand.entries(1)
    assert (entry.kind, entry.dispatch.activation.step) == ("redispatch", "undo_b")


def test_a_cancelled_run_undoes_where_that_is_asked_for(stand):
    run = failing(stand)
    cancelled = run.cancel("why", compensate=True)
    assert (sent(cancelled), cancelled.run.status) == ([], Status.RUNNING)
    assert set(cancelled.held) == {"c"}
    late = run.complete("c")
    assert (late.verdict, sent(late)) == (Verdict.LATE, ["undo_b"])
    run.step("undo_b")
    commitment = run.step("undo_a")
    assert (commitment.status_after, run.load().cancel_reason) == (Status.CANCELLED, "why")
    assert run.load().failure is None


def test_a_cancelled_run_of_which_nothing_is_executed_undoes_at_once(stand):
    run = trip(stand)
    run.step("a")
    cancelled = run.cancel(compensate=True)
    assert (sent(cancelled), cancelled.run.status) == (["undo_a"], Status.RUNNING)
    assert [dispatch.activation.step for dispatch in cancelled.sent] == ["b"]


def test_a_cancelled_run_of_which_nothing_has_completed_ends_at_once(stand):
    run = trip(stand)
    cancelled = run.cancel(compensate=True)
    assert (sent(cancelled), cancelled.run.status) == ([], Status.CANCELLED)


def test_a_cancelled_run_without_compensations_ends_at_once(stand):
    run = stand.start()
    run.step("a")
    assert run.cancel(compensate=True).run.status is Status.CANCELLED


def test_a_repeated_cancellation_gets_the_first_reply(stand):
    run = trip(stand)
    run.step("a")
    first = run.cancel(compensate=True, operation="one")
    assert run.cancel(compensate=True, operation="one").dispatches == first.dispatches
    assert run.cancel(compensate=True) is None


def test_a_run_that_undoes_is_ended_at_once_by_a_cancellation(stand):
    run = failing(stand)
    run.fail("c")
    run.claim("undo_b")
    cancelled = run.cancel("enough")
    assert cancelled.run.status is Status.CANCELLED
    assert (run.load().failed_step, json.loads(run.load().failure)["message"]) == ("c", "no")
    assert run.complete("undo_b").verdict is Verdict.DISCARDED
    assert run.due() == {}


def test_the_id_is_taken_until_the_last_compensation_has_ended(stand):
    run = failing(stand)
    run.cancel(compensate=True)
    with pytest.raises(Exception, match="running already"):
        stand.start()
    run.fail("c")
    run.step("undo_b")
    with pytest.raises(Exception, match="running already"):
        stand.start()
    run.step("undo_a")
    stand.start()


def test_a_pause_holds_compensations(stand):
    run = failing(stand)
    run.pause()
    assert sent(run.fail("c")) == []
    assert run.claim("undo_b").reason == "paused"
    run.unpause()
    [entry] = stand.entries(1)
    assert entry.dispatch.activation.step == "undo_b"
    run.claim("undo_b")
    run.pause()
    assert sent(run.complete("undo_b")) == []
    run.unpause()
    [entry] = stand.entries(1)
    assert entry.dispatch.activation.step == "undo_a"


def test_a_run_that_is_stuck_undoes_too(stand):
    edges = {
        ("a", "ok"): ["x", "y"],
        ("x", "ok"): ["j"],
        ("x", "no"): ["f"],
        ("y", "ok"): ["j"],
        ("j", "ok"): ["done"],
        ("f", "ok"): ["j"],
    }
    run = trip(stand, edges, {"a": "undo_a", "x": "undo_x"}, joins={"j": 3})
    run.step("a")
    run.claim("y")
    commitment = run.step("x", "no")
    assert (commitment.status_after, commitment.undoes) == (Status.RUNNING, True)
    late = run.complete("y")
    assert sent(late) == ["undo_x"]
    run.step("undo_x")
    commitment = run.step("undo_a")
    assert (commitment.status_after, commitment.shortfall and commitment.shortfall.step) == (Status.FAILED, "j")
    assert json.loads(run.load().failure)["message"] == "stuck"


def test_commits_in_a_run_that_undoes_may_be_repeated(stand):
    run = failing(stand)
    run.claim("x")
    assert run.fail("c") == run.fail("c")
    late = run.complete("x")
    assert run.complete("x") == late
    run.claim("undo_x")
    one = run.complete("undo_x")
    assert run.complete("undo_x") == one
    run.step("undo_b")
    run.claim("undo_a")
    last = run.complete("undo_a")
    assert run.complete("undo_a") == last
    assert last.status_after is Status.FAILED


def test_a_late_step_may_end_the_run(stand):
    run = trip(stand, {("a", "ok"): ["done"], ("b", "ok"): ["done"]}, {"b": "undo_b"})
    run.claim("a")
    run.claim("b")
    run.fail("a")
    late = run.fail("b")
    assert (late.verdict, late.status_after, late.ending) == (Verdict.LATE, Status.FAILED, late.sequence + 1)
    assert run.fail("b") == late


def test_a_run_that_has_not_ended_in_time_undoes_too(stand):
    run = trip(stand, deadline=1_000_000)
    run.step("a")
    [entry] = stand.entries(1)
    assert (entry.kind, entry.expired.undoes) == ("deadline", True)
    assert [dispatch.activation.step for dispatch in entry.expired.dispatches] == ["undo_a"]
    commitment = run.step("undo_a")
    assert (commitment.status_after, json.loads(run.load().failure)["type"]) == (Status.FAILED, "DeadlineExceeded")


def test_the_deadline_of_a_run_that_undoes_does_not_count(stand):
    run = trip(stand, deadline=1_000_000)
    run.step("a")
    run.step("b")
    run.claim("c")
    run.fail("c")
    soon = stand.storage.now() + 1_100_000
    while stand.storage.now() < soon:
        assert [entry.kind for entry in stand.tick().entries] == []
    run.step("undo_b")
    assert run.step("undo_a").status_after is Status.FAILED
    assert json.loads(run.load().failure)["message"] == "no"


def undone(stand):
    """A run that has failed at c, and has undone b and a in that order."""
    run = failing(stand)
    run.fail("c")
    run.step("undo_b")
    run.step("undo_a")
    return run


def test_a_retry_runs_again_what_was_undone(stand):
    again = undone(stand).retried()
    assert standing_of(again) == {"a": "active"}
    assert again.load().steps["a"].origin is None
    assert (again.load().undo_count, again.load().undoing) == (0, None)


def test_a_retry_keeps_what_was_not_undone_and_undoes_it_later(stand):
    run = failing(stand)
    run.fail("c")
    run.claim("undo_b")
    run.cancel()
    again = run.retried()
    assert standing_of(again) == {"a": "completed", "b": "active"}
    assert again.load().undo_count == 1
    again.claim("b")
    assert sent(again.fail("b")) == ["undo_a"]
    assert again.step("undo_a").status_after is Status.FAILED


def test_a_retry_keeps_the_keys_of_steps_that_were_dropped(stand):
    edges = {("a", "ok"): ["done"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
    run = trip(stand, edges, {"c": "undo_c"})
    run.claim("a")
    run.retry("a", delay=3_600_000_000)
    run.claim("b")
    run.fail("b")
    again = run.retried()
    assert {key: state.origin for key, state in again.load().steps.items()} == dict.fromkeys("abc", run.id)


def test_a_retry_takes_the_transition_of_a_step_that_ended_late(stand):
    edges = {("a", "ok"): ["c"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]}
    run = trip(stand, edges, {"c": "undo_c"})
    run.claim("a")
    run.claim("b")
    run.fail("b")
    run.complete("a")
    assert run.load().status is Status.FAILED
    again = run.retried()
    assert standing_of(again) == {"a": "completed", "b": "active"}
    assert list(again.step("b").activated) == ["c"]


def test_a_fork_undoes_only_what_it_has_completed_itself(stand):
    run = failing(stand)
    other = run.forked("b", instance_id="order::other")
    assert other.load().undo_count == 0
    other.step("b")
    other.claim("c")
    assert sent(other.fail("c")) == ["undo_b"]
    assert other.step("undo_b").status_after is Status.FAILED


def test_a_fork_of_a_run_that_undoes_is_refused(stand):
    run = failing(stand)
    run.fail("c")
    with pytest.raises(RunStateError, match="undoes"):
        run.forked("b", instance_id="order::other")
    with pytest.raises(RunStateError, match="undoes"):
        run.forked("b")


def test_a_fork_of_a_run_that_has_begun_to_undo_since_it_was_read_is_refused(stand):
    run = failing(stand)
    rerun = run.rerun(again=["b"], retry=False, instance_id="order::other")
    run.fail("c")
    run.cancel()
    with pytest.raises(RunStateError, match="undoes"):
        run.made(rerun)


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
