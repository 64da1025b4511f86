"""Why a step does not move: each reason follows from facts."""

from __future__ import annotations

import dataclasses

import pytest

from hephaestus_celery.core.execution.standing import (
    REPORTED,
    SILENT,
    Cause,
    LaneFacts,
    MessageFacts,
    RunFacts,
    SchedulerFacts,
    StepFacts,
    reason,
)
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import Held, PendingResume, StepState

NOW = 1_700_000_000_000_000
SECOND = 1_000_000
LANE = "3:work"
AT_WORK = SchedulerFacts(owner="s", seen_at=NOW - SECOND)
ACTIVE = StepState(status=StepStatus.ACTIVE, max_attempts=3, queued_at=NOW - SECOND, lane=LANE)
MESSAGE = MessageFacts(queue="work", consumers=["w1", "w2"], knowing=["w1"], queued=1)


def told(state=ACTIVE, *, message=MESSAGE, scheduler=AT_WORK, lane=None, **facts):
    step = StepFacts(state=state, **facts)
    run = RunFacts(at=NOW, steps={"pay": step}, lanes={LANE: lane or LaneFacts(waiting=1)}, scheduler=scheduler)
    return reason("pay", step, run, workflow="shop.Order version 2", message=message)


def unclaimed(**message):
    return told(
        message=dataclasses.replace(MESSAGE, **message), sent_at=NOW - SECOND, lane=LaneFacts(next_look=NOW + 9)
    )


def test_an_executed_attempt_has_its_worker_and_the_end_of_its_lease():
    state = dataclasses.replace(ACTIVE, fence="f", worker="w1", claimed_at=NOW - 9, attempt=2)
    found = told(state, due_at=NOW + 5)
    assert (found.step, found.cause, found.since, found.until) == ("pay", Cause.EXECUTING, NOW - 9, NOW + 5)
    assert found.waits_for == "w1 to end attempt 2 of 3"


def test_an_event_that_is_applied_has_its_worker():
    resume = PendingResume(event="paid", source="external", at=NOW - 5)
    state = StepState(status=StepStatus.WAITING, fence="f", worker="w1", claimed_at=NOW - 4, resume=resume)
    found = told(state, due_at=NOW + 5)
    assert (found.cause, found.since) == (Cause.APPLYING, NOW - 4)
    assert found.waits_for == "w1 to apply the event 'paid'"


def test_a_backoff_has_its_end():
    state = dataclasses.replace(ACTIVE, backing_off=True, attempt=2)
    found = told(state, due_at=NOW + 7)
    assert (found.cause, found.until, found.waits_for) == (Cause.BACKOFF, NOW + 7, "its backoff before attempt 2 of 3")
    assert found.since is None


def test_a_backoff_began_when_the_last_attempt_had_failed():
    state = dataclasses.replace(ACTIVE, backing_off=True, attempt=2, queued_at=NOW + 7)
    assert told(state, due_at=NOW + 7, failed_at=NOW - 5).since == NOW - 5


def test_a_wait_for_events_has_their_names_and_its_timeout():
    state = StepState(
        status=StepStatus.WAITING, waiting_since=NOW - 3, accepts={"yes": "yes", "no": "no", "timeout": "timeout"}
    )
    found = told(state, due_at=NOW + 7)
    assert (found.cause, found.since, found.until) == (Cause.EVENT, NOW - 3, NOW + 7)
    assert found.waits_for == "the event 'no' or 'yes'"
    assert "resume RUN no" in found.moved_by
    assert told(state).until is None


def test_a_wait_for_time_alone_has_its_timer():
    state = StepState(status=StepStatus.WAITING, waiting_since=NOW - 3, accepts={"timeout": "timeout"})
    assert told(state, due_at=NOW + 7).cause is Cause.TIMER
    assert told(state).waits_for == "a timeout that nobody has set"


@pytest.mark.parametrize(
    ("message", "cause", "text"),
    [
        ({"consumers": [], "knowing": []}, Cause.QUEUE_WITHOUT_CONSUMER, "takes from queue work: none does"),
        ({"knowing": []}, Cause.UNKNOWN_VERSION, "knows shop.Order version 2, which w1 and 1 more can't execute"),
        ({"holder": "w2", "rate": "1/m"}, Cause.RATE_LIMIT, "w2, which holds the message of attempt 1 of 3 back by"),
        ({"holder": "w2"}, Cause.HELD, "w2, which has taken the message of attempt 1 of 3 and is busy"),
        ({"queued": 0}, Cause.SENT, "to begin attempt 1 of 3: the message has just left queue work"),
        ({"queued": 5}, Cause.BACKLOG, "its turn in queue work (5 not taken yet)"),
        ({}, Cause.SENT, "a worker to take its message from queue work"),
        ({"knowing": None, "queued": None}, Cause.SENT, "a worker to take its message from queue work"),
    ],
)
def test_an_unclaimed_message_has_what_workers_and_broker_say(message, cause, text):
    found = unclaimed(**message)
    assert (found.cause, found.since) == (cause, NOW - SECOND)
    assert text in found.waits_for


def test_a_backlog_has_the_number_of_messages_before_its_own():
    message = dataclasses.replace(MESSAGE, queued=1_205)
    found = told(message=message, sent_at=NOW - SECOND, before=1_204)
    assert (found.cause, found.waits_for) == (
        Cause.BACKLOG,
        "1,204 messages before its own in queue work (1,205 not taken yet)",
    )


def test_a_message_is_lost_when_each_worker_has_said_that_it_does_not_hold_it():
    message, lane = dataclasses.replace(MESSAGE, queued=0), LaneFacts(next_look=NOW + 9)
    assert told(message=message, lane=lane, sent_at=NOW - REPORTED + 1).cause is Cause.SENT
    found = told(message=message, lane=lane, sent_at=NOW - REPORTED)
    assert (found.cause, found.until) == (Cause.MESSAGE_LOST, NOW + 9)
    assert "neither in queue work nor with a worker" in found.waits_for


def test_a_message_whose_lane_is_not_known_is_sent_again_in_time():
    state = dataclasses.replace(ACTIVE, lane=None)
    found = told(state, message=None, due_at=NOW + 7)
    assert (found.cause, found.until) == (Cause.SENT, NOW + 7)


def test_a_step_without_message_and_due_entry_is_moved_by_nothing():
    found = told(message=MESSAGE)
    assert (found.cause, found.until) == (Cause.NOTHING_DUE, None)


@pytest.mark.parametrize("scheduler", [SchedulerFacts(), SchedulerFacts(owner="s", seen_at=NOW - SILENT - 1)])
def test_what_is_over_waits_for_a_scheduler_where_none_is_at_work(scheduler):
    state = dataclasses.replace(ACTIVE, backing_off=True, attempt=2)
    found = told(state, due_at=NOW - 1, scheduler=scheduler)
    assert found.cause is Cause.NO_SCHEDULER
    assert found.waits_for == "a scheduler: none is at work, and it waits for its backoff before attempt 2 of 3"
    assert told(state, due_at=NOW + 1, scheduler=scheduler).cause is Cause.BACKOFF
    assert told(state, due_at=NOW - 1).cause is Cause.BACKOFF


def test_a_store_without_a_scheduler_lock_never_lacks_a_scheduler():
    state = dataclasses.replace(ACTIVE, backing_off=True, attempt=2)
    assert told(state, due_at=NOW - 1, scheduler=None).cause is Cause.BACKOFF


@pytest.mark.parametrize("held", Held)
def test_what_a_pause_has_held_is_sent_by_a_scheduler_when_that_is_over(held):
    state = dataclasses.replace(ACTIVE, held=held)
    assert (told(state).cause, told(state).since) == (Cause.RELEASED, NOW - SECOND)
    assert told(state, scheduler=SchedulerFacts()).cause is Cause.NO_SCHEDULER
