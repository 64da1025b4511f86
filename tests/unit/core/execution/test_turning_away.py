"""When the message that a worker left is sent again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hephaestus_celery.core.execution.limits import TURNED_AWAY
from hephaestus_celery.core.execution.turning_away import sent_again_at
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import StepState

NOW = 1_000_000_000
TIMEOUT = 60_000_000
SENT = StepState(status=StepStatus.ACTIVE, attempt=2, dispatch=1, queued_at=NOW)


def again(step, *, attempt=2, due_at=NOW + TIMEOUT):
    return sent_again_at(step, attempt=attempt, moment=NOW, dispatch_timeout=TIMEOUT, due_at=due_at)


@pytest.mark.parametrize(("resends", "times"), [(0, 1), (1, 2), (4, 16)])
def test_each_message_that_was_left_is_followed_twice_as_late(resends, times):
    assert again(replace(SENT, resends=resends)) == NOW + times * TURNED_AWAY


def test_messages_of_earlier_attempts_and_rounds_do_not_count():
    assert again(replace(SENT, dispatch=50)) == NOW + TURNED_AWAY


def test_the_interval_stops_growing_at_the_tenth_message():
    tenth, far = (again(replace(SENT, resends=resends), due_at=None) for resends in (9, 49))
    assert tenth == far == NOW + 512 * TURNED_AWAY


def test_a_message_is_never_sent_later_than_it_would_have_been():
    assert again(SENT, due_at=NOW + 5) is None


def test_a_message_whose_entry_was_lost_is_sent_again_soon():
    assert again(SENT, due_at=None) == NOW + TURNED_AWAY


@pytest.mark.parametrize(
    "step",
    [
        replace(SENT, fence="f"),
        replace(SENT, backing_off=True),
        replace(SENT, status=StepStatus.COMPLETED),
        replace(SENT, status=StepStatus.WAITING),
    ],
    ids=["claimed", "backing off", "completed", "waiting"],
)
def test_a_step_that_awaits_no_claim_is_left_alone(step):
    assert again(step) is None


def test_a_message_of_another_attempt_changes_nothing():
    assert again(SENT, attempt=1) is None


def test_a_message_in_a_lane_is_sent_again_soon_though_nothing_was_due():
    assert again(replace(SENT, lane="0:q", sent_at=NOW), due_at=None) == NOW + TURNED_AWAY


def test_a_message_in_a_lane_that_is_looked_for_sooner_keeps_its_time():
    assert again(replace(SENT, lane="0:q", sent_at=NOW - TIMEOUT), due_at=None) is None


@pytest.mark.parametrize(("due_in", "expected"), [(TIMEOUT, NOW + TURNED_AWAY), (TURNED_AWAY, None), (5, None)])
def test_of_a_message_in_a_lane_that_has_an_entry_too_that_entry_counts(due_in, expected):
    looked_for_by_now = replace(SENT, lane="0:q", sent_at=NOW - TIMEOUT)
    assert again(looked_for_by_now, due_at=NOW + due_in) == expected
