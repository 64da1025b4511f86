"""Lanes in a transaction: which messages wait in a queue."""

from __future__ import annotations

from hephaestus_celery.core.execution.lane_watch import LaneWatch
from hephaestus_celery.storage.transactional.transaction import Member, Transaction


def enter_lane(transaction: Transaction, lane: str, member: Member, at: int, *, timeout: int) -> None:
    """A message for a step was sent to this lane."""
    transaction.enter_lane(lane, member, at)
    watch = transaction.find_watch(lane) or LaneWatch()
    if watch.due is None:
        transaction.save_watch(lane, watch.entered(at, timeout=timeout))


def leave_lane(transaction: Transaction, lane: str | None, member: Member) -> None:
    """The message for a step no longer waits in its lane, if that is known."""
    if lane is not None:
        transaction.leave_lane(lane, member)


def move_lane(transaction: Transaction, lane: str, mark: int) -> None:
    """What was sent to the lane at ``mark`` was claimed."""
    transaction.save_watch(lane, (transaction.find_watch(lane) or LaneWatch()).moved(mark))


def go_on_in(transaction: Transaction, lane: str, *, after: int, now: int) -> None:
    """Record that so many messages of a lane were sent again, so that a look at the lane goes on."""
    watch = transaction.find_watch(lane)
    if watch is not None and after:
        transaction.save_watch(lane, watch.resumed(after=after, now=now))
