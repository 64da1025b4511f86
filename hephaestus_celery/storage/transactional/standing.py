"""What steps wait for, in a transaction: their due entries, and their places in lanes."""

from __future__ import annotations

from collections.abc import Sequence

from hephaestus_celery.core.execution.due_items import StepDue
from hephaestus_celery.core.execution.standing import LaneFacts, RunFacts, StepFacts
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.schema import SCHEMA, written_by_newer
from hephaestus_celery.storage.transactional.record import Record
from hephaestus_celery.storage.transactional.transaction import Transaction

_MOST_ASKED = 100
_PIECE = 500


def facts_in(
    transaction: Transaction, run_id: str, steps: Sequence[Activation], *, now: int, shift: int
) -> RunFacts | None:
    """The facts of steps of a run; ``shift`` leads from the clock of timers to that of users, whose time is ``now``."""
    record = transaction.find_run(run_id)
    if record is None:
        return None
    if record.schema > SCHEMA:
        raise written_by_newer(run_id, record.schema)
    found = {} if record.state.status.final else _steps(transaction, record, steps, shift=shift)
    lanes = {facts.state.lane for facts in found.values() if facts.state.lane and facts.state.awaits_claim}
    return RunFacts(at=now, steps=found, lanes={lane: _lane(transaction, lane, shift=shift) for lane in lanes})


def _steps(
    transaction: Transaction, record: Record, steps: Sequence[Activation], *, shift: int
) -> dict[str, StepFacts]:
    found: dict[str, StepFacts] = {}
    for step in steps[:_MOST_ASKED]:
        state = record.state.find(step)
        if state is None:
            continue
        due_at = transaction.due_at(record.new.run_id, StepDue(step))
        place = _place(transaction, state.lane, (record.new.run_id, str(step))) if state.awaits_claim else None
        sent_at, before = (None, 0) if place is None else (place[0] + shift, place[1])
        found[str(step)] = StepFacts(
            state=state, due_at=None if due_at is None else due_at + shift, sent_at=sent_at, before=before
        )
    return found


def _place(transaction: Transaction, lane: str | None, member: tuple[str, str]) -> tuple[int, int] | None:
    # When a message was sent to its lane, and how many stand before it.
    start = 0
    while lane is not None:
        piece = transaction.waiting(lane, start=start, limit=_PIECE)
        for number, (found, at) in enumerate(piece):
            if found == member:
                return at, start + number
        if len(piece) < _PIECE:
            return None
        start += _PIECE
    return None


def _lane(transaction: Transaction, lane: str, *, shift: int) -> LaneFacts:
    watch = transaction.find_watch(lane)
    mark = None if watch is None else watch.mark
    due = None if watch is None else watch.due
    return LaneFacts(
        waiting=transaction.count_waiting(lane),
        mark=None if mark is None else mark + shift,
        next_look=None if due is None else due + shift,
    )
