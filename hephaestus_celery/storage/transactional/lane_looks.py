"""Looks at lanes in a transaction: which messages that wait in a queue may be lost."""

from __future__ import annotations

from hephaestus_celery.core.execution import pausing
from hephaestus_celery.core.execution.commands import last_message
from hephaestus_celery.core.execution.lane_watch import LaneWatch, begin_look, end_look
from hephaestus_celery.core.execution.lanes import redispatch_interval
from hephaestus_celery.core.execution.limits import PIECE
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.due import LaneReport, Outstanding
from hephaestus_celery.storage.schema import SCHEMA
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.pauses import is_held
from hephaestus_celery.storage.transactional.transaction import Member, Transaction


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
        passed = watch.passed is not None and at < watch.passed
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
    if record is not None and record.schema > SCHEMA:
        return True, None  # it stays where it is
    step = None if record is None or record.state.status.final else record.state.steps.get(name)
    if record is None or step is None or not step.awaits_claim:
        return False, None
    if is_held(transaction, record):
        carry_out(transaction, record, pausing.set_aside(record.state, Activation.parse(name)), times)
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
