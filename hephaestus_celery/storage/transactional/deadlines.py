"""Deadlines of runs in a transaction: set at the start, and what becomes of a run that has not ended in time."""

from __future__ import annotations

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.deadlines import account_of, expire, failure_of
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.due_items import Deadline
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.execution.telling import of_deadline
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.storage.due import DueEntry, ExpiredRun
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.starts import NewRun
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.event_stream import tell
from hephaestus_celery.storage.transactional.pauses import hold_in
from hephaestus_celery.storage.transactional.record import Record, entry_of
from hephaestus_celery.storage.transactional.transaction import Transaction


def set_deadline(transaction: Transaction, run: NewRun, times: Times) -> None:
    """A run has begun: from now on its deadline counts, if it has one."""
    if run.deadline is not None:
        transaction.set_due(run.run_id, Deadline(), times.moment + run.deadline)


def expire_in(transaction: Transaction, record: Record, times: Times, *, stream: int) -> DueEntry | None:
    """The deadline of a run has come; gives what is to be emitted, None if the run had ended."""
    new = record.new
    transaction.clear_due(new.run_id, Deadline())
    decision = expire(record.state, times=times)
    if decision.verdict is not Verdict.APPLIED or new.deadline is None:
        return None
    decision = hold_in(transaction, record, decision)
    undoes = decision.state.compensating
    record.failure = failure_of(new.deadline)
    entry = encode_entry(kind="timer", reason=account_of(new.deadline))
    record.history.append(entry_of(decision.sequence, "completed", None, record.started_at, times.now, detail=entry))
    tell(transaction, record, of_deadline(decision, times, detail=entry, start=record.start), stream=stream)
    carry_out(transaction, record, decision, times)
    return DueEntry(
        kind=Due.DEADLINE,
        run_id=new.run_id,
        name=new.name,
        version=new.version,
        dispatch=DispatchStep(Activation(""), 1, 0),
        sequence=decision.sequence,
        expired=ExpiredRun(
            header=new.header,
            started_at=record.started_at,
            finished_at=times.now,
            start=record.start,
            deadline=new.deadline,
            advances=decision.state.advances,
            completed=None if undoes else decision.state.count(StepStatus.COMPLETED),
            undoes=undoes,
            dispatches=list(decision.dispatches),
        ),
    )
