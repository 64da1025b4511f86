"""Tests of undoing: a run that does not complete undoes what has completed, the last step first, and ends then."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.storage.queries import DataKind
from hephaestus_celery.testing.conformance.trips import failing, sent, standing_of, trip


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


def test_a_step_whose_failure_was_taken_is_not_undone(stand):
    edges = {("a", "ok"): ["b"], ("a", FAILED): ["b"], ("b", "ok"): ["done"]}
    run = trip(stand, edges, {"a": "undo_a"})
    run.step("a", FAILED, result='{"kind":"error","type":"E","message":"m"}')
    run.claim("b")
    assert run.fail("b").status_after is Status.FAILED


def test_a_compensation_is_wanted_until_the_run_has_ended(stand):
    run = failing(stand)
    run.fail("c")
    run.claim("undo_b")
    assert list(run.storage.renew([run.held("undo_b")], wanted=True)) == [True]
    run.cancel()
    assert list(run.storage.renew([run.held("undo_b")], wanted=True)) == [False]


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
