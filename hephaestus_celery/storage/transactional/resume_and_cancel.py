"""Resumes and cancellations in a transaction: which run is meant, an event for it, its cancellation."""

from __future__ import annotations

from hephaestus_celery.core.execution import transitions
from hephaestus_celery.core.execution.delivery import Delivered, receive
from hephaestus_celery.core.execution.resolve import Candidates, Resolution, RunReference, resolve
from hephaestus_celery.core.execution.state import RunState, Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.uniqueness import Claimant
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.resume_and_cancel import Cancellation, Delivery, DeliveryReport
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.record import address, claimant, entry_of, stored
from hephaestus_celery.storage.transactional.transaction import Transaction


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
    """Record an event for the step that waits for it, or keep or refuse it."""
    found = _resolve(transaction, delivery.run)
    record = None if found.run_id is None else transaction.find_run(found.run_id)
    if record is None:
        outcome = Delivered.SEVERAL if found.several else Delivered.UNKNOWN_RUN
        return DeliveryReport(outcome=outcome, active=found.several)
    stored(record)  # raises for one that is newer, which must not be changed
    reception = receive(
        record.state, name=delivery.name, step=delivery.step, keep=delivery.keep, key=delivery.key, times=times
    )
    if reception.outcome is Delivered.REPEATED:
        return DeliveryReport(outcome=Delivered.REPEATED, run=address(record), status=record.state.status)
    if reception.outcome is Delivered.ACCEPTED:
        record.data[reception.steps[0]] = delivery.data
    elif reception.outcome is Delivered.KEPT:
        record.early[reception.decision.state.kept] = delivery.data
    status, executing = record.state.status, _executed(record.state, delivery.step)
    return DeliveryReport(
        outcome=reception.outcome,
        run=address(record),
        status=status,
        steps=reception.steps,
        executing=executing,
        dispatches=carry_out(transaction, record, reception.decision),
    )


def cancel_in(
    transaction: Transaction, run_id: str, times: Times, *, reason: str | None, entry: str
) -> Cancellation | None:
    """End a run; None when it has ended already."""
    record = transaction.find_run(run_id)
    if record is None:
        raise InstanceNotFoundError(f"no run {run_id}")
    stored(record)  # raises for one that is newer, which must not be changed
    decision = transitions.cancel(record.state, times=times)
    if decision.verdict is Verdict.STALE:
        return None
    record.cancel_reason = reason
    record.history.append(entry_of(decision.sequence, "", finished_at=times.now, detail=entry))
    carry_out(transaction, record, decision)
    return Cancellation(sequence=decision.sequence, run=stored(record))


def _resolve(transaction: Transaction, reference: RunReference) -> Resolution:
    if not is_run_id(reference.id):
        return resolve(reference, candidates_in(transaction, reference))
    record = transaction.find_run(reference.id)
    run = None if record is None else claimant(record.new)
    known = run is not None and reference.admits(family=run.family, version=run.version)
    return Resolution(run_id=reference.id if known else None)


def _executed(state: RunState, only: str | None) -> tuple[str, ...]:
    # The steps that workers are executing, or that one of them.
    if state.status.final:
        return ()
    held = [key for key, step in state.steps.items() if step.fence is not None and step.status is StepStatus.ACTIVE]
    return tuple(key for key in held if only in (None, key))
