"""Contract 7: a message is not lost for being old. When a lane is looked at, and which of its messages may be lost."""

from __future__ import annotations

from hephaestus_celery.core.execution.lane_watch import LaneWatch, begin_look, end_look
from hephaestus_celery.core.execution.limits import PIECE_PAUSE

TIMEOUT = 30_000_000
HALF = TIMEOUT // 2
NOW = 10**15


def look(watch, *, first=NOW - TIMEOUT):
    return begin_look(watch, first=first, now=NOW, timeout=TIMEOUT)


def test_a_lane_is_looked_at_when_its_first_message_may_be_late():
    assert LaneWatch().entered(NOW, timeout=TIMEOUT).due == NOW + TIMEOUT
    assert LaneWatch(due=5).entered(NOW, timeout=TIMEOUT).due == 5


def test_a_mark_never_goes_back():
    assert LaneWatch(mark=7).moved(5).mark == 7
    assert LaneWatch(mark=7).moved(8).mark == 8


def test_a_lane_whose_oldest_message_is_fresh_is_looked_at_when_that_is_late():
    found = look(LaneWatch(rounds=2, offset=9), first=NOW - 1)
    assert not found.through
    assert (found.watch.due, found.watch.rounds, found.watch.offset) == (NOW - 1 + TIMEOUT, 0, 0)


def test_a_lane_that_moves_is_left_alone_until_it_has_come_past_its_oldest_message():
    found = look(LaneWatch(mark=NOW - TIMEOUT - 1, last=None))
    assert (found.moves, found.through, found.watch.due) == (True, False, NOW + HALF)
    together = look(LaneWatch(mark=NOW, last=1, coming=NOW - TIMEOUT, since=NOW - HALF))
    assert (together.moves, together.through) == (True, False)  # what was sent at the same time passes nothing
    passed = look(LaneWatch(mark=NOW, last=1, coming=NOW - TIMEOUT + 1, since=NOW - HALF))
    assert (passed.moves, passed.through, passed.watch.passed) == (True, True, NOW - TIMEOUT + 1)


def test_a_lane_from_which_nobody_claims_is_gone_through():
    found = look(LaneWatch(mark=5, last=5))
    assert (found.moves, found.through) == (False, True)


def test_a_mark_counts_as_passed_half_a_dispatch_timeout_after_it_was_seen():
    early = look(LaneWatch(mark=NOW, coming=3, since=NOW - HALF + 1))
    assert (early.watch.passed, early.watch.coming) == (None, 3)
    late = look(LaneWatch(mark=NOW, coming=3, since=NOW - HALF))
    assert (late.watch.passed, late.watch.coming, late.watch.since) == (3, NOW, NOW)


def test_the_pauses_between_looks_grow_to_twice_the_dispatch_timeout():
    watch, pauses = LaneWatch(), []
    for _ in range(4):
        watch = end_look(watch, kept=1, more=False, now=NOW, timeout=TIMEOUT)
        pauses.append(watch.due - NOW)
    assert pauses == [HALF, 2 * HALF, 4 * HALF, 4 * HALF]


def test_a_long_lane_is_gone_through_in_pieces():
    watch = end_look(LaneWatch(offset=50), kept=48, more=True, now=NOW, timeout=TIMEOUT)
    assert (watch.offset, watch.due) == (98, NOW + PIECE_PAUSE)


def test_what_was_sent_again_waits_no_more_where_the_look_stands():
    assert LaneWatch(offset=50, rounds=1).resumed(after=3, now=NOW) == LaneWatch(offset=47, due=NOW)
    assert LaneWatch(due=9, rounds=1).resumed(after=3, now=NOW) == LaneWatch(due=9)
