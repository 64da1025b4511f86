"""Resumes and cancellations in a transaction: finds the run that is meant, delivers an event to it, or cancels it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hephaestus_celery.core.execution import transitions
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered, receive
from hephaestus_celery.core.execution.due_items import TimerDue
from hephaestus_celery.core.execution.resolve import Candidates, Resolution, RunReference, resolve
from hephaestus_celery.core.execution.state import RunState, Verdict
from hephaestus_celery.core.execution.telling import of_cancel
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.uniqueness import Claimant
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.storage.resume_and_cancel import Cancellation, CancelRequest, Delivery, DeliveryReport
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.event_stream import tell
from hephaestus_celery.storage.transactional.pauses import hold_in
from hephaestus_celery.storage.transactional.reads import known_run
from hephaestus_celery.storage.transactional.record import address, claimant, entry_of, stored
from hephaestus_celery.storage.transactional.transaction import REPLY_KEPT, Transaction


@dataclass(frozen=True, slots=True)
class _Replied:
    """Says that an operation was carried out, with the number of its event if it has one, and the messages to be sent."""

    sequence: int = 0
    dispatches: tuple[DispatchStep, ...] = ()


def candidates_in(transaction: Transaction, reference: RunReference) -> Candidates:
    """The runs that an instance id may mean."""

    def admitted(*, active: bool) -> list[Claimant]:
        runs = transaction.runs_of(reference.id, active=active)
        return [run for run in runs if reference.admits(family=run.family, version=run.version)]

    known, active = admitted(active=False), admitted(active=True)
    return Candidates(
        active=[run.run_id for run in active],
        newest=known[-1].run_id if known else None,
        versions={run.run_id: run.version for run in active},
    )


def deliver_in(transaction: Transaction, delivery: Delivery, times: Times) -> DeliveryReport:
    """Record an event for the step that waits for it, or keep or refuse it. The call may be repeated."""
    replied = transaction.find_reply(DeliveryReport, delivery.run.id, delivery.operation)
    if replied is not None:
        return replied
    found = _resolve(transaction, delivery.run)
    record = None if found.run_id is None else transaction.find_run(found.run_id)
    if record is None:
        outcome = Delivered.SEVERAL if found.several else Delivered.UNKNOWN_RUN
        return DeliveryReport(outcome=outcome, active=found.several)
    stored(record)  # raises for a run of a newer schema, which must not be changed
    reception = receive(
        record.state,
        name=delivery.name,
        step=delivery.step,
        keep=delivery.keep,
        key=delivery.key,
        by=delivery.by,
        times=times,
    )
    if reception.outcome is Delivered.REPEATED:
        return DeliveryReport(outcome=Delivered.REPEATED, run=address(record), status=record.state.status)
    reception = replace(reception, decision=hold_in(transaction, record, reception.decision))
    if reception.outcome is Delivered.ACCEPTED:
        record.data[reception.steps[0]] = delivery.data
    elif reception.outcome is Delivered.KEPT:
        record.early[reception.decision.state.kept] = delivery.data
    status, executing = record.state.status, _executed(record.state, delivery.step)
    report = DeliveryReport(
        outcome=reception.outcome,
        run=address(record),
        status=status,
        steps=reception.steps,
        executing=executing,
        dispatches=reception.decision.dispatches,
    )
    if reception.outcome not in (Delivered.ACCEPTED, Delivered.KEPT):
        return report  # a refused event leaves no trace: a repeated call is decided anew
    carry_out(transaction, record, reception.decision, times)
    transaction.save_reply(delivery.run.id, delivery.operation, report, ends_at=times.moment + REPLY_KEPT)
    return report


def cancel_in(transaction: Transaction, request: CancelRequest, times: Times) -> Cancellation | None:
    """End a run, with ``compensate`` when what has completed is undone; None if it has ended or undoes already."""
    run_id = request.run_id
    record = known_run(transaction, run_id)
    run = stored(record)  # raises for a run of a newer schema, which must not be changed
    replied = transaction.find_reply(_Replied, run_id, request.operation)
    if replied is not None:
        return Cancellation(sequence=replied.sequence, run=run, dispatches=replied.dispatches)
    decision = transitions.cancel(record.state, times=times, compensate=request.compensate)
    if decision.verdict is Verdict.STALE:
        return None
    decision = hold_in(transaction, record, decision)
    record.cancel_reason = request.reason
    record.history.append(entry_of(decision.sequence, "", finished_at=times.now, detail=request.entry))
    told = of_cancel(decision, times, detail=request.entry, start=record.start)
    tell(transaction, record, told, stream=request.durations.stream)
    dispatches = carry_out(transaction, record, decision, times)
    reply = _Replied(decision.sequence, dispatches)
    transaction.save_reply(run_id, request.operation, reply, ends_at=times.moment + REPLY_KEPT)
    return Cancellation(sequence=decision.sequence, run=stored(record), dispatches=dispatches)


def schedule_in(
    transaction: Transaction, run_id: str, activation: Activation, times: Times, *, reference: str, delay: int
) -> bool:
    """Set a timer beside the step's own; False if the run has ended. A repeated call never sets it again."""
    operation = f"timer {reference}"
    if transaction.find_reply(_Replied, run_id, operation) is not None:
        return True
    record = transaction.find_run(run_id)
    if record is None or record.state.status.final:
        return False
    transaction.set_due(run_id, TimerDue(activation, reference), times.moment + delay)
    transaction.save_reply(run_id, operation, _Replied(), ends_at=times.moment + REPLY_KEPT)
    return True


def unschedule_in(
    transaction: Transaction, run_id: str, activation: Activation, times: Times, *, reference: str, operation: str
) -> bool:
    """Take such a timer back; False if it has fired or was taken back already."""
    if transaction.find_reply(_Replied, run_id, operation) is not None:
        return True
    if not transaction.clear_due(run_id, TimerDue(activation, reference)):
        return False
    transaction.save_reply(run_id, operation, _Replied(), ends_at=times.moment + REPLY_KEPT)
    return True


def _resolve(transaction: Transaction, reference: RunReference) -> Resolution:
    if not is_run_id(reference.id):
        return resolve(reference, candidates_in(transaction, reference))
    record = transaction.find_run(reference.id)
    run = None if record is None else claimant(record.new)
    known = run is not None and reference.admits(family=run.family, version=run.version)
    return Resolution(run_id=reference.id if known else None)


def _executed(state: RunState, only: str | None) -> tuple[str, ...]:
    # The steps that workers are executing; with a key in ``only``, at most that step.
    if state.status.final:
        return ()
    held = [key for key, step in state.steps.items() if step.fence is not None and step.status is StepStatus.ACTIVE]
    return tuple(key for key in held if only in (None, key))
