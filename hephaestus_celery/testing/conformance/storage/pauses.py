"""Tests of pauses: no step of a paused run is claimed, and all that was accepted meanwhile goes on when it ends, in order."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.claims import Refusal, Refused
from hephaestus_celery.storage.pauses import PauseOutcome
from hephaestus_celery.testing.conformance.sent import kinds, sent, steps_sent

LANE, OTHER = "0:work", "5:work"
FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
ACCEPTS_TIMEOUT = {"go": "ok", "timeout": "timeout"}
HOUR = 3_600_000_000
DROPPED = Refusal(reason=Refused.PAUSED)


# The pause itself


def test_a_pause_is_told_with_its_number_and_enters_the_history(receiver):
    before = receiver.load().sequence
    report = receiver.pause(by="ann")
    assert (report.outcome, report.sequence) == (PauseOutcome.CHANGED, before + 1)
    assert (report.run.pauses.run.by, report.run.pauses.workflow, report.run.sequence) == ("ann", None, before + 1)
    assert kinds(receiver)[-1] == "pause"
    assert receiver.history()[-1].finished_at == report.run.pauses.run.at


def test_a_second_pause_changes_nothing(receiver):
    receiver.pause(by="ann")
    before = receiver.load(), list(receiver.history())
    assert receiver.pause(by="bob").outcome is PauseOutcome.UNCHANGED
    assert (receiver.load(), list(receiver.history())) == before


def test_going_on_without_a_pause_changes_nothing(receiver):
    before = receiver.load(), list(receiver.history())
    assert receiver.unpause().outcome is PauseOutcome.UNCHANGED
    assert (receiver.load(), list(receiver.history())) == before


def test_the_end_of_a_pause_is_told_with_its_number_and_enters_the_history(receiver):
    paused = receiver.pause()
    report = receiver.unpause()
    assert (report.outcome, report.sequence) == (PauseOutcome.CHANGED, paused.sequence + 1)
    assert not report.run.pauses
    assert kinds(receiver)[-2:] == ["pause", "unpause"]


@pytest.mark.parametrize("call", ["pause", "unpause"])
def test_a_repeated_call_gets_the_first_reply(receiver, call):
    if call == "unpause":
        receiver.pause()
    first = getattr(receiver, call)(operation="once")
    again = getattr(receiver, call)(operation="once")
    assert (again.outcome, again.sequence) == (first.outcome, first.sequence)
    assert kinds(receiver).count(call) == 1


@pytest.mark.parametrize("call", ["pause", "unpause"])
def test_a_run_that_has_ended_is_not_paused(receiver, call):
    receiver.cancel()
    before = receiver.load(), list(receiver.history())
    assert getattr(receiver, call)().outcome is PauseOutcome.ENDED
    assert (receiver.load(), list(receiver.history())) == before


@pytest.mark.parametrize("call", ["pause", "unpause"])
def test_an_unknown_run_is_not_paused(stand, call):
    with pytest.raises(InstanceNotFoundError):
        getattr(stand.prepare(), call)()


def test_hostile_names_come_back_as_they_were_given(receiver, stand):
    by, family = "ann|\"'\n\0é🛒", "shop|.Order\"'é🛒"
    receiver.pause(by=by)
    stand.pause_workflow(family, by=by)
    assert receiver.load().pauses.run.by == by
    assert stand.storage.paused_workflows()[family].by == by
    stand.unpause_workflow(family)


# Claims


def test_no_step_of_a_paused_run_is_claimed(stand, pausing):
    run = stand.start()
    pausing(run)
    assert run.claim("a") == DROPPED
    assert run.load().status is Status.PENDING


@pytest.mark.parametrize("versions", [(1,), (2, 3), ()])
def test_a_message_is_dropped_whatever_its_worker_knows(stand, pausing, versions):
    run = stand.start(lane=LANE)
    pausing(run)
    assert run.claim("a", versions=versions) == DROPPED
    assert (run.due(), run.lanes()) == ({}, {})


def test_an_event_is_not_applied_in_a_paused_run(receiver, pausing):
    receiver.deliver()
    pausing(receiver)
    assert receiver.claim("a") == DROPPED


def test_who_has_claimed_before_may_repeat_the_call(stand, pausing):
    run = stand.start()
    claim = run.claim("a", fence="f1")
    pausing(run)
    assert run.claim("a", fence="f1").sequence == claim.sequence


def test_a_late_message_of_a_paused_run_is_late_as_ever(stand, pausing):
    run = stand.start()
    run.step("a")
    pausing(run)
    assert run.claim("a") == Refusal(reason=Refused.STALE)


def test_what_was_dropped_is_sent_once_when_the_run_goes_on(stand, pausing):
    run = stand.start(lane=LANE)
    go_on = pausing(run)
    run.claim("a", lane=LANE, token=1)
    run.claim("a", lane=LANE, token=1)
    stand.calm()
    go_on()
    assert sent(stand.entries()) == [(run.id, "a", 1, 2)]
    stand.calm()
    assert run.lanes() == {"a": LANE}
    assert run.claim("a").first


def test_what_nobody_has_dropped_is_not_sent_again(stand, pausing):
    run = stand.start(lane=LANE)
    go_on = pausing(run)
    go_on()
    stand.calm()
    assert run.lanes() == {"a": LANE}
    assert run.claim("a", token=1).first


def test_an_older_copy_of_a_message_drops_nothing(stand, pausing):
    run = stand.start(lane=LANE)
    run.resend("a", lane=LANE)
    go_on = pausing(run)
    assert run.claim("a", token=1) == DROPPED
    go_on()
    stand.calm()


def test_a_message_from_before_the_pause_may_come_after_it(stand, pausing):
    run = stand.start(lane=LANE)
    go_on = pausing(run)
    run.claim("a", token=1)
    go_on()
    assert run.claim("a", token=1).first
    stand.calm()


# What executes


def test_what_is_being_executed_is_committed_and_what_follows_is_not_sent(stand):
    run = stand.start(FORK)
    run.claim("a")
    run.pause()
    commitment = run.complete("a")
    assert (list(commitment.activated), list(commitment.dispatches), commitment.active) == (["b", "c"], [], 2)
    assert {key: step.status for key, step in run.load().steps.items()} == {
        "a": StepStatus.COMPLETED,
        "b": StepStatus.ACTIVE,
        "c": StepStatus.ACTIVE,
    }
    assert (run.due(), run.lanes()) == ({}, {})
    stand.calm()


def test_what_follows_is_sent_when_the_run_goes_on(stand):
    run = stand.start(FORK, lane=LANE)
    run.claim("a")
    run.pause()
    run.complete("a")
    run.unpause()
    assert sent(stand.entries(2)) == [(run.id, "b", 1, 1), (run.id, "c", 1, 1)]
    assert run.lanes() == {"b": LANE, "c": LANE}
    run.step("b")
    assert run.step("c").status_after is Status.COMPLETED
    stand.calm()


def test_a_run_may_end_while_it_is_paused(stand, pausing):
    run = stand.start({("a", "ok"): ["done"]})
    run.claim("a")
    go_on = pausing(run)
    assert run.complete("a").status_after is Status.COMPLETED
    assert not run.load().pauses
    go_on()
    stand.calm()


def test_a_run_may_fail_while_it_is_paused(stand, pausing):
    run = stand.start(FORK)
    run.step("a")
    run.claim("b")
    pausing(run)
    run.claim("c")
    assert run.fail("b").status_after is Status.FAILED
    assert not run.load().pauses
    stand.calm()


# Timers and events


def test_a_resume_is_accepted_and_kept(receiver, stand, pausing):
    go_on = pausing(receiver)
    report = receiver.deliver()
    assert (report.outcome, list(report.dispatches)) == ("accepted", [])
    stand.calm()
    go_on()
    assert sent(stand.entries()) == [(receiver.id, "a", 1, 2)]
    claim = receiver.claim("a")
    assert (claim.resume.event, claim.resume.source, claim.data) == ("ok", "external", '{"x":1}')


def test_a_timeout_is_accepted_and_kept(stand, pausing):
    run = stand.start()
    run.wait_at("a", timeout=0)
    go_on = pausing(run)
    stand.calm()
    assert run.due() == {}
    go_on()
    assert steps_sent(stand, 1) == ["a"]
    assert run.claim("a").resume.source == "timeout"


def test_a_resume_before_its_timeout_wins(stand, pausing):
    run = stand.start()
    run.wait_at("a", accepts=ACCEPTS_TIMEOUT, timeout=0)
    go_on = pausing(run)
    assert run.deliver().outcome == "accepted"
    stand.calm()
    go_on()
    assert steps_sent(stand, 1) == ["a"]
    assert run.claim("a").resume.source == "external"


def test_a_timeout_before_a_resume_wins(stand, pausing):
    run = stand.start()
    run.wait_at("a", accepts=ACCEPTS_TIMEOUT, timeout=0)
    go_on = pausing(run)
    stand.calm()
    assert run.deliver().outcome == "not_waiting"
    go_on()
    assert steps_sent(stand, 1) == ["a"]
    assert run.claim("a").resume.source == "timeout"


def test_what_was_accepted_goes_on_in_the_order_in_which_it_came(stand, pausing):
    edges = {(key, "ok"): ["done"] for key in "abcd"}
    run = stand.start(edges)
    for key in "abcd":
        run.wait_at(key, accepts={f"go-{key}": "ok"})
    go_on = pausing(run)
    for key in "cadb":
        assert run.deliver(f"go-{key}").outcome == "accepted"
    go_on()
    assert steps_sent(stand, 4) == ["c", "a", "d", "b"]


def test_an_early_event_is_given_to_the_step_that_comes_to_wait(stand, pausing):
    run = stand.start()
    run.claim("a")
    go_on = pausing(run)
    assert run.deliver(keep=True).outcome == "kept"
    commitment = run.suspend("a")
    assert (commitment.resumed, list(commitment.dispatches)) == (False, [])
    go_on()
    assert sent(stand.entries()) == [(run.id, "a", 1, 2)]
    assert run.claim("a").resume.source == "external"


def test_an_event_with_a_key_is_taken_once(receiver, pausing):
    pausing(receiver)
    assert receiver.deliver(key="evt_1").outcome == "accepted"
    assert receiver.deliver(key="evt_1").outcome == "repeated"


def test_a_timer_beside_that_of_a_step_is_kept_too(receiver, stand, pausing):
    go_on = pausing(receiver)
    assert receiver.schedule("a")
    stand.calm()
    go_on()
    assert steps_sent(stand, 1) == ["a"]
    assert receiver.claim("a").resume.source == "timeout"


def test_the_next_attempt_waits_until_the_run_goes_on(stand, pausing):
    run = stand.start(lane=LANE)
    run.claim("a")
    go_on = pausing(run)
    run.retry("a")
    stand.calm()
    assert (run.due(), run.lanes()) == ({}, {})
    go_on()
    assert sent(stand.entries()) == [(run.id, "a", 2, 2)]
    assert run.claim("a", 2).attempt.number == 2


def test_a_backoff_that_is_longer_than_the_pause_goes_on(stand, pausing):
    run = stand.start()
    run.claim("a")
    go_on = pausing(run)
    run.retry("a", delay=HOUR)
    before = run.due()
    go_on()
    stand.calm()
    assert run.due() == before
