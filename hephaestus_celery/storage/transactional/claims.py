"""Starts, claims and leases in a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hephaestus_celery.core.execution import pausing, transitions
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due_items import StepDue
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.execution.telling import of_claim
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.turning_away import sent_again_at
from hephaestus_celery.core.execution.uniqueness import find_holder
from hephaestus_celery.storage.claims import Attempt, Claim, ClaimRequest, Refusal, Refused
from hephaestus_celery.storage.starts import NewRun, already_running
from hephaestus_celery.storage.transactional.deadlines import set_deadline
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.event_stream import tell
from hephaestus_celery.storage.transactional.pauses import hold_in, is_held
from hephaestus_celery.storage.transactional.record import Record, claimant, stored
from hephaestus_celery.storage.transactional.transaction import REPLY_KEPT, Transaction


def create_in(transaction: Transaction, run: NewRun, times: Times) -> Sequence[DispatchStep]:
    """Store a run and its start; ``AlreadyRunningError`` when an active run holds the id within the scope."""
    if transaction.find_run(run.run_id) is not None:  # a repeated call: each start has a new run id
        return tuple(first.dispatch for first in run.firsts)
    holder = find_holder(claimant(run), transaction.runs_of(run.instance_id, active=True))
    if holder is not None:
        raise already_running(run, holder.run_id, family=holder.family, scope=holder.scope)
    decision = transitions.create(
        initials={first.step: first.max_attempts for first in run.firsts},
        times=times,
        lanes={first.step: first.lane for first in run.firsts if first.lane is not None},
        compensates=run.compensates,
    )
    record = Record(run, decision.state, times.now, str(times.now * 1000))
    record.configs.update({first.step: (0, first.config) for first in run.firsts if first.config is not None})
    transaction.add_run(record)
    set_deadline(transaction, run, times)
    return carry_out(transaction, record, hold_in(transaction, record, decision), times)


def claim_in(transaction: Transaction, request: ClaimRequest, times: Times) -> Claim | Refusal:
    """Take an attempt, or an event delivered to a waiting step."""
    record = transaction.find_run(request.run_id)
    refusal = _refused(record, request)
    if record is not None and not _is_of_round(record, request):
        return refusal or Refusal(reason=Refused.STALE)
    if record is not None and (refusal is None or refusal.reason is Refused.UNKNOWN_VERSION):
        dropped = _drop(transaction, record, request, times)
        if dropped is not None:
            return dropped
    if record is None or refusal is not None:
        if record is not None and refusal is not None and refusal.reason is not Refused.FOREIGN:
            _turn_away(transaction, record, request, times)
        return refusal or Refusal(reason=Refused.UNKNOWN_RUN)
    before = record.state
    held = before.find(request.activation)
    given = None if held is None or held.fence != request.fence else _find_given(transaction, request)
    if given is not None:  # a repeated call
        return _claimed(record, request, given)
    decision = transitions.claim(
        before,
        request.activation,
        attempt=request.attempt,
        fence=request.fence,
        launch=request.activation.step == transitions.DONE,
        times=times,
        limit=request.limit,
        holder=request.holder,
        worker=request.worker,
        lane=request.lane,
        token=request.token,
        round=request.round,
    )
    if decision.verdict is not Verdict.APPLIED:
        return Refusal(reason=Refused(decision.verdict.value))
    carry_out(transaction, record, decision, times)
    tell(
        transaction,
        record,
        of_claim(before, decision, request.activation, times),
        stream=request.durations.stream,
    )
    given = _Given(first=decision.state.advances > before.advances, sequence=decision.sequence)
    transaction.save_reply(request.run_id, _operation(request), given, ends_at=times.moment + REPLY_KEPT)
    return _claimed(record, request, given)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """A granted claim: whether it was the first of the run, and the first event number that it reserved."""

    first: bool
    sequence: int


def _operation(request: ClaimRequest) -> str:
    return f"claim {request.activation} {request.fence}"


def _find_given(transaction: Transaction, request: ClaimRequest) -> _Given | None:
    return transaction.find_reply(_Given, request.run_id, _operation(request))


def _claimed(record: Record, request: ClaimRequest, given: _Given) -> Claim:
    # A repeated call gets the claim as it was granted, while its fence is valid.
    step = record.state.steps[str(request.activation)]
    return Claim(
        attempt=request.granted(max_attempts=step.max_attempts),
        run=replace(stored(record), sequence=given.sequence - 1),
        first=given.first,
        sequence=given.sequence,
        queued_at=step.queued_at or 0,
        claimed_at=step.claimed_at or 0,
        waiting_since=step.waiting_since,
        resume=step.resume,
        data=record.data.get(str(request.activation)),
    )


def renew_in(transaction: Transaction, attempt: Attempt, times: Times, *, wanted: bool) -> bool:
    """Renew the lease of an attempt; False if the attempt is no longer held with its fence, or ``wanted`` and it is not."""
    record = transaction.find_run(attempt.run_id)
    if record is None:
        return False
    decision = transitions.renew(record.state, attempt.activation, fence=attempt.fence, times=times)
    carry_out(transaction, record, decision, times)
    if decision.verdict is not Verdict.APPLIED:
        return False
    late = record.state.undoing is not None and record.state.steps[str(attempt.activation)].compensates is None
    return not (wanted and late)


def _refused(record: Record | None, request: ClaimRequest) -> Refusal | None:
    if record is None:
        return Refusal(reason=Refused.UNKNOWN_RUN)
    new = record.new
    if new.name != request.workflow:
        return Refusal(reason=Refused.FOREIGN, detail=new.name)
    if record.schema > request.schema:
        return Refusal(reason=Refused.NEWER_SCHEMA, detail=str(record.schema))
    if new.version not in request.versions:
        return Refusal(reason=Refused.UNKNOWN_VERSION, detail=f"{new.name} version {new.version}")
    return None


def _is_of_round(record: Record, request: ClaimRequest) -> bool:
    # Whether the message is of the round that the step is in: one of an earlier round says nothing about this one.
    step = record.state.find(request.activation)
    return step is None or request.round == step.round


def _drop(transaction: Transaction, record: Record, request: ClaimRequest, times: Times) -> Refusal | None:
    # The message of a step that a pause holds is dropped, whatever its worker knows.
    if not is_held(transaction, record):
        return None
    decision = pausing.drop(record.state, request.activation, attempt=request.attempt, token=request.token)
    if decision.verdict is not Verdict.APPLIED:
        return None
    carry_out(transaction, record, decision, times)
    return Refusal(reason=Refused.PAUSED)


def _turn_away(transaction: Transaction, record: Record, request: ClaimRequest, times: Times) -> None:
    step = record.state.find(request.activation)
    if step is None or record.state.status.final:
        return
    item = StepDue(request.activation)
    at = sent_again_at(
        step,
        attempt=request.attempt,
        moment=times.moment,
        dispatch_timeout=times.dispatch_timeout,
        due_at=transaction.due_at(record.new.run_id, item),
    )
    if at is not None:
        transaction.set_due(record.new.run_id, item, at)
