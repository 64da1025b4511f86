"""What comes due, is lost, or is taken from a worker that is gone, in a transaction."""

from __future__ import annotations

from typing import assert_never

from hephaestus_celery.core.execution import due as rules
from hephaestus_celery.core.execution import transitions
from hephaestus_celery.core.execution.commands import last_message
from hephaestus_celery.core.execution.due import Due, rescue_reason
from hephaestus_celery.core.execution.due_items import DueItem, Prune, SettleDue, StepDue, Sweep, TimerDue
from hephaestus_celery.core.execution.limits import LEFT
from hephaestus_celery.core.execution.state import Decision, Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.due import DueEntry, Outstanding, RescuedRun, Sent
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.schema import SCHEMA
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.lanes import Member
from hephaestus_celery.storage.transactional.record import Record, entry_of
from hephaestus_celery.storage.transactional.transaction import Transaction


def come_due_in(
    transaction: Transaction, run_id: str, item: DueItem, times: Times, *, fence: str, worker: str
) -> DueEntry | None:
    """An entry of the due set has come due; what else is to be done about it, None for nothing."""
    record = transaction.find_run(run_id)
    if record is not None and record.new.schema > SCHEMA:
        transaction.set_due(run_id, item, times.moment + LEFT)
        return None
    if record is None:
        transaction.clear_due(run_id, item)
        return None
    match item:
        case StepDue(activation):
            kind, decision = rules.due(record.state, activation, fence=fence, times=times)
            if kind is Due.NOTHING:
                transaction.clear_due(run_id, item)
                return None
        case TimerDue(activation):
            transaction.clear_due(run_id, item)
            kind, decision = rules.fire(record.state, activation, times=times)
            if kind is Due.NOTHING:
                carry_out(transaction, record, decision)
                return None
        case Prune() | Sweep() | SettleDue():  # such a store leaves nothing for later, and keeps its runs
            transaction.clear_due(run_id, item)
            return None
        case _:
            assert_never(item)
    return _rescue(transaction, record, kind, str(activation), decision, times=times, worker=worker)


def seize_in(
    transaction: Transaction,
    activation: Activation,
    record: Record,
    times: Times,
    *,
    attempt: int,
    fence: str,
    entry: str,
    timed_out: bool,
) -> DueEntry | None:
    """Take an attempt from the task that held it; None where nothing is taken."""
    decision = transitions.seize(
        record.state, activation, attempt=attempt, fence=fence, times=times, timed_out=timed_out
    )
    if decision.verdict is Verdict.APPLIED:
        record.history.append(entry_of(decision.sequence, "", finished_at=times.now, detail=entry))
    carry_out(transaction, record, decision)
    if decision.verdict is not Verdict.APPLIED:
        return None
    kind = Due.TIMED_OUT if timed_out else Due.LEASE_EXPIRED
    return _entry_about(record, kind, str(activation), decision, times)


def resend_in(
    transaction: Transaction, message: Outstanding, times: Times, *, lane: str | None, worker: str
) -> DueEntry | None:
    """A message counts as lost; the one that takes its place, None where the step has moved on."""
    record = transaction.find_run(message.run_id)
    if record is None:
        return None
    dispatch = message.dispatch
    before = record.state.find(dispatch.activation)
    decision = rules.resend(
        record.state, dispatch.activation, attempt=dispatch.attempt, token=dispatch.token, times=times, lane=lane
    )
    if decision.verdict is not Verdict.APPLIED:
        return None
    if before is not None and before.lane is not None:
        transaction.lanes.leave(before.lane, (message.run_id, str(dispatch.activation)))
    return _rescue(transaction, record, Due.REDISPATCH, str(dispatch.activation), decision, times=times, worker=worker)


def redirect_in(transaction: Transaction, sent: Sent) -> None:
    """A message went to another lane than was thought."""
    record = transaction.find_run(sent.run_id)
    if record is None:
        return
    before = record.state.find(sent.dispatch.activation)
    decision = rules.redirect(record.state, sent.dispatch, lane=sent.lane)
    if decision.verdict is Verdict.APPLIED and before is not None and before.lane is not None:
        transaction.lanes.leave(before.lane, (sent.run_id, str(sent.dispatch.activation)))
    carry_out(transaction, record, decision)


def awaited_in(transaction: Transaction, member: Member) -> tuple[str, int, StepState] | None:
    """Workflow, version and step of what waits for a claim; None where it does not any more."""
    record = transaction.find_run(member[0])
    step = None if record is None or record.state.status.final else record.state.steps.get(member[1])
    if record is None or step is None or not step.awaits_claim:
        return None
    return record.new.name, record.new.version, step


def _rescue(
    transaction: Transaction, record: Record, kind: Due, key: str, decision: Decision, *, times: Times, worker: str
) -> DueEntry:
    step = decision.state.steps[key]
    if decision.reserved:
        entry = encode_entry(
            kind="rescue", step=key, attempt=step.attempt, reason=rescue_reason(kind, step), worker=worker
        )
        record.history.append(entry_of(decision.sequence, "", finished_at=times.now, detail=entry))
    carry_out(transaction, record, decision)
    return _entry_about(record, kind, key, decision, times)


def _entry_about(record: Record, kind: Due, key: str, decision: Decision, times: Times) -> DueEntry:
    step = record.state.steps[key]
    rescued = RescuedRun(
        header=record.new.header,
        status=record.state.status,
        started_at=record.started_at,
        start=record.start,
        step=step,
        at=times.now,
    )
    return DueEntry(
        kind=kind,
        run_id=record.new.run_id,
        name=record.new.name,
        version=record.new.version,
        dispatch=last_message(Activation.parse(key), step),
        fence=step.fence,
        sequence=decision.sequence if decision.reserved else 0,
        run=rescued if decision.reserved else None,
        message_headers=record.new.message_headers,
    )
