"""Due entries, lost messages, and attempts seized from lost workers, in a transaction."""

from __future__ import annotations

from typing import assert_never

from hephaestus_celery.core.execution import due as rules
from hephaestus_celery.core.execution import pausing, transitions
from hephaestus_celery.core.execution.commands import last_message
from hephaestus_celery.core.execution.due import Due, rescue_reason
from hephaestus_celery.core.execution.due_items import (
    CopyRun,
    Deadline,
    DueItem,
    Prune,
    SettleDue,
    StepDue,
    Sweep,
    TimerDue,
    UndoDue,
)
from hephaestus_celery.core.execution.limits import LEFT
from hephaestus_celery.core.execution.state import Decision, Verdict
from hephaestus_celery.core.execution.telling import of_rescue
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.claims import Attempt
from hephaestus_celery.storage.due import SEIZED, DueEntry, Outstanding, RescuedRun, Sent
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.schema import SCHEMA
from hephaestus_celery.storage.transactional.deadlines import expire_in
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.event_stream import tell
from hephaestus_celery.storage.transactional.pauses import hold_in, is_held
from hephaestus_celery.storage.transactional.record import Record, entry_of
from hephaestus_celery.storage.transactional.transaction import Transaction


def come_due_in(
    transaction: Transaction,
    run_id: str,
    item: DueItem,
    times: Times,
    *,
    fence: str,
    worker: str,
    seize: bool,
    stream: int,
) -> DueEntry | None:
    """Handle an entry of the due set that has come due; gives what the caller has to do about it, None for nothing.

    Without ``seize`` no attempt is taken: the store was away, and workers need time to renew their leases.
    """
    record = transaction.find_run(run_id)
    if record is None:
        transaction.clear_due(run_id, item)
    elif record.schema > SCHEMA:
        transaction.set_due(run_id, item, times.moment + LEFT)
    else:
        match item:
            case StepDue(activation):
                return _step_due(
                    transaction, record, activation, times, fence=fence, worker=worker, seize=seize, stream=stream
                )
            case TimerDue(activation):
                transaction.clear_due(run_id, item)
                kind, decision = rules.fire(record.state, activation, times=times)
                if kind is not Due.NOTHING:
                    return _rescue(
                        transaction, record, kind, str(activation), decision, times=times, worker=worker, stream=stream
                    )
                carry_out(transaction, record, decision, times)
            case Deadline():
                return expire_in(transaction, record, times, stream=stream)
            case Prune() | Sweep() | UndoDue() | SettleDue() | CopyRun():  # unused here: calls do all at once
                transaction.clear_due(run_id, item)
            case _:
                assert_never(item)
    return None


def _step_due(
    transaction: Transaction,
    record: Record,
    activation: Activation,
    times: Times,
    *,
    fence: str,
    worker: str,
    seize: bool,
    stream: int,
) -> DueEntry | None:
    if _dropped(transaction, record, activation, times):
        return None
    run_id, item, key = record.new.run_id, StepDue(activation), str(activation)
    kind, decision = rules.due(record.state, activation, fence=fence, times=times)
    if kind is Due.NOTHING:
        transaction.clear_due(run_id, item)
        return None
    if not seize and record.state.steps[key].fence is not None:
        transaction.set_due(run_id, item, times.moment + times.lease)
        return None
    return _rescue(transaction, record, kind, key, decision, times=times, worker=worker, stream=stream)


def _dropped(transaction: Transaction, record: Record, activation: Activation, times: Times) -> bool:
    # In a paused run, nobody looks for a message.
    dropped = pausing.drop_due(record.state, activation) if is_held(transaction, record) else None
    if dropped is not None:
        carry_out(transaction, record, dropped, times)
    return dropped is not None


def seize_in(
    transaction: Transaction,
    activation: Activation,
    record: Record,
    times: Times,
    *,
    attempt: int,
    holder: str,
    fence: str,
    reason: str,
    worker: str | None,
    timed_out: bool,
    stream: int,
) -> DueEntry | None:
    """Take an attempt from the task that held it; None where nothing is taken."""
    kind, key = Due.TIMED_OUT if timed_out else Due.LEASE_EXPIRED, str(activation)
    step = record.state.find(activation)
    operation, sequence = record.rescues.get(key, ("", 0))
    if step is not None and step.fence == fence == operation:  # this call again
        return _entry_about(record, kind, key, sequence, times, holder=holder)
    if step is None or step.holder != holder:
        return None
    decision = transitions.seize(
        record.state, activation, attempt=attempt, fence=fence, times=times, timed_out=timed_out
    )
    if decision.verdict is Verdict.APPLIED:
        _note(transaction, record, key, decision, times, reason=reason, worker=worker, stream=stream)
        record.rescues[key] = fence, decision.sequence
    carry_out(transaction, record, decision, times)
    if decision.verdict is not Verdict.APPLIED:
        return None
    return _entry_about(record, kind, key, decision.sequence, times, holder=holder)


def resend_in(
    transaction: Transaction,
    message: Outstanding,
    times: Times,
    *,
    lane: str | None,
    operation: str,
    worker: str,
    stream: int,
) -> DueEntry | None:
    """A message counts as lost; the one that takes its place, None where the step has moved on."""
    record = transaction.find_run(message.run_id)
    if record is None or record.schema > SCHEMA or is_held(transaction, record):
        return None
    dispatch = message.dispatch
    key = str(dispatch.activation)
    before = record.state.find(dispatch.activation)
    decision = rules.resend(
        record.state, dispatch.activation, attempt=dispatch.attempt, token=dispatch.token, times=times, lane=lane
    )
    if decision.verdict is not Verdict.APPLIED:
        done_by, sequence = record.rescues.get(key, ("", 0))
        again = done_by == operation and before is not None and before.attempt == dispatch.attempt
        if not again or before is None or not before.awaits_claim or record.state.status.final:
            return None
        return _entry_about(record, Due.REDISPATCH, key, sequence, times)
    if before is not None and before.lane is not None:
        transaction.leave_lane(before.lane, (message.run_id, key))
    record.rescues[key] = operation, decision.sequence
    return _rescue(transaction, record, Due.REDISPATCH, key, decision, times=times, worker=worker, stream=stream)


def redirect_in(transaction: Transaction, sent: Sent, times: Times) -> None:
    """A message went to another lane than was thought."""
    record = transaction.find_run(sent.run_id)
    if record is None or record.schema > SCHEMA:
        return
    before = record.state.find(sent.dispatch.activation)
    decision = rules.redirect(record.state, sent.dispatch, lane=sent.lane)
    if decision.verdict is Verdict.APPLIED and before is not None and before.lane is not None:
        transaction.leave_lane(before.lane, (sent.run_id, str(sent.dispatch.activation)))
    carry_out(transaction, record, decision, times)


def _rescue(
    transaction: Transaction,
    record: Record,
    kind: Due,
    key: str,
    decision: Decision,
    *,
    times: Times,
    worker: str,
    stream: int,
) -> DueEntry | None:
    decision = hold_in(transaction, record, decision)
    step = decision.state.steps[key]
    if decision.reserved:
        reason = rescue_reason(kind, step)
        _note(transaction, record, key, decision, times, reason=reason, worker=worker, stream=stream)
    carry_out(transaction, record, decision, times)
    if step.held is not None and not decision.reserved:
        return None  # the run is paused: nothing is sent, and there is nothing to tell
    return _entry_about(record, kind, key, decision.sequence if decision.reserved else 0, times)


def _note(
    transaction: Transaction,
    record: Record,
    key: str,
    decision: Decision,
    times: Times,
    *,
    reason: str,
    worker: str | None,
    stream: int,
) -> None:
    # The history entry of a rescue, whose fields are those of the attempt.
    step = decision.state.steps[key]
    entry = encode_entry(
        kind="rescue",
        step=key,
        attempt=step.attempt,
        reason=reason,
        worker=worker,
        round=step.round if step.round > 1 else None,
        compensates=step.compensates,
    )
    record.history.append(entry_of(decision.sequence, "", finished_at=times.now, detail=entry))
    tell(transaction, record, of_rescue(decision, times, detail=entry), stream=stream)


def _entry_about(
    record: Record, kind: Due, key: str, sequence: int, times: Times, *, holder: str | None = None
) -> DueEntry:
    # ``sequence`` is the number of the event of a rescue, 0 where there is none.
    step, activation = record.state.steps[key], Activation.parse(key)
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
        dispatch=last_message(activation, step),
        attempt=_seized(record, activation, step, times, holder=holder) if kind in SEIZED else None,
        sequence=sequence,
        run=rescued if sequence else None,
        message_headers=record.new.message_headers,
        held=step.held is not None,
    )


def _seized(record: Record, activation: Activation, step: StepState, times: Times, *, holder: str | None) -> Attempt:
    return Attempt(
        run_id=record.new.run_id,
        activation=activation,
        number=step.attempt,
        max_attempts=step.max_attempts,
        fence=step.fence or "",
        holder=holder,
        lease=times.lease,
    )
