"""Lanes in a transaction: which messages wait in a queue, and the looks at it."""

from __future__ import annotations

from hephaestus_celery.core.execution.commands import last_message
from hephaestus_celery.core.execution.lane_watch import LaneWatch, begin_look, end_look
from hephaestus_celery.core.execution.lanes import redispatch_interval
from hephaestus_celery.core.execution.limits import PIECE
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.due import LaneReport, Outstanding
from hephaestus_celery.storage.schema import SCHEMA
from hephaestus_celery.storage.transactional.transaction import Member, Transaction


def enter_lane(transaction: Transaction, lane: str, member: Member, at: int, *, timeout: int) -> None:
    """A message for a step was sent to this lane."""
    transaction.enter_lane(lane, member, at)
    watch = transaction.find_watch(lane) or LaneWatch()
    if watch.due is None:
        transaction.save_watch(lane, watch.entered(at, timeout=timeout))


def move_lane(transaction: Transaction, lane: str, mark: int) -> None:
    """What was sent to the lane at ``mark`` was claimed."""
    transaction.save_watch(lane, (transaction.find_watch(lane) or LaneWatch()).moved(mark))


def go_on_in(transaction: Transaction, lane: str, *, after: int, now: int) -> None:
    """Record that so many messages of a lane were sent again, so that a look at the lane goes on."""
    watch = transaction.find_watch(lane)
    if watch is not None and after:
        transaction.save_watch(lane, watch.resumed(after=after, now=now))


def look_at_lanes(transaction: Transaction, times: Times) -> list[LaneReport]:
    """Look at the lanes whose time has come; gives those in which something may be lost."""
    reports = [_look(transaction, lane, watch, times) for lane, watch in transaction.watches_until(times.moment)]
    return [report for report in reports if report.outstanding]


def _look(transaction: Transaction, lane: str, watch: LaneWatch, times: Times) -> LaneReport:
    oldest = transaction.waiting(lane, start=0, limit=1)
    if not oldest:
        transaction.save_watch(lane, None)
        return LaneReport(lane=lane, moves=False, outstanding=())
    now, timeout = times.moment, times.dispatch_timeout
    [(_, first)] = oldest
    look = begin_look(watch, first=first, now=now, timeout=timeout)
    found: list[Outstanding] = []
    watch = look.watch
    if look.through:
        found, kept, more = _look_through(transaction, lane, watch, times)
        watch = end_look(watch, kept=kept, more=more, now=now, timeout=timeout)
    transaction.save_watch(lane, watch)
    return LaneReport(lane=lane, moves=look.moves, outstanding=found)


def _look_through(
    transaction: Transaction, lane: str, watch: LaneWatch, times: Times
) -> tuple[list[Outstanding], int, bool]:
    # The late messages in the next piece of a lane, how many of the piece still wait, and whether another piece may follow.
    found: list[Outstanding] = []
    kept = 0
    piece = transaction.waiting(lane, start=watch.offset, limit=PIECE)
    for member, at in piece:
        if at + times.dispatch_timeout > times.moment:
            return found, kept, False
        passed = watch.passed is not None and at <= watch.passed
        waits, message = _awaited(transaction, member, times, passed=passed)
        if not waits:
            transaction.leave_lane(lane, member)
            continue
        kept += 1
        found.extend([] if message is None else [message])
    return found, kept, len(piece) == PIECE


def _awaited(
    transaction: Transaction, member: Member, times: Times, *, passed: bool
) -> tuple[bool, Outstanding | None]:
    # Whether a message still waits for a claim, and the message if it is late.
    run_id, name = member
    record = transaction.find_run(run_id)
    if record is not None and record.new.schema > SCHEMA:
        return True, None  # it stays where it is
    step = None if record is None or record.state.status.final else record.state.steps.get(name)
    if record is None or step is None or not step.awaits_claim:
        return False, None
    interval = redispatch_interval(sent=step.sent, resends=step.resends, timeout=times.dispatch_timeout)
    if step.sent + interval > times.moment:
        return True, None
    return True, Outstanding(
        run_id=run_id,
        name=record.new.name,
        version=record.new.version,
        dispatch=last_message(Activation.parse(name), step),
        passed=passed,
    )
