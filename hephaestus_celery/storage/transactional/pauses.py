"""Pauses of runs and workflows in a transaction: what they hold, and what goes on when they end."""

from __future__ import annotations

from hephaestus_celery.core.execution import pausing
from hephaestus_celery.core.execution.state import Decision, Verdict
from hephaestus_celery.core.execution.telling import What, of_pause
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.storage.pauses import PauseOutcome, PauseReport, PauseRequest
from hephaestus_celery.storage.queries import StoredRun
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.event_stream import tell
from hephaestus_celery.storage.transactional.reads import known_run
from hephaestus_celery.storage.transactional.record import Record, entry_of, stored
from hephaestus_celery.storage.transactional.transaction import REPLY_KEPT, Transaction


def is_held(transaction: Transaction, record: Record) -> bool:
    """Whether the run is paused, by itself or with its workflow."""
    return record.state.pause is not None or record.new.family in transaction.pauses()


def hold_in(transaction: Transaction, record: Record, decision: Decision) -> Decision:
    """What a decision about this run comes to: in a paused run, nothing is sent."""
    return pausing.hold(decision) if is_held(transaction, record) else decision


def pause_in(transaction: Transaction, request: PauseRequest, times: Times) -> PauseReport:
    """Pause a run. The call may be repeated."""
    return _change(transaction, request, times, pauses=True)


def unpause_in(transaction: Transaction, request: PauseRequest, times: Times) -> PauseReport:
    """Let a run go on, unless its workflow is paused. The call may be repeated."""
    return _change(transaction, request, times, pauses=False)


def pause_workflow_in(transaction: Transaction, family: str, times: Times, *, operation: str, by: str | None) -> bool:
    """Pause a workflow; False if it is paused already."""
    if transaction.find_reply(PauseReport, family, operation) is not None:
        return True
    if family in transaction.pauses():
        return False
    transaction.save_pause(family, PauseMark(at=times.now, by=by))
    _keep_reply(transaction, family, operation, times, PauseReport(outcome=PauseOutcome.CHANGED))
    return True


def unpause_workflow_in(transaction: Transaction, family: str, times: Times, *, operation: str) -> bool:
    """Let a workflow go on; False if it is not paused."""
    if transaction.find_reply(PauseReport, family, operation) is not None:
        return True
    if family not in transaction.pauses():
        return False
    transaction.save_pause(family, None)
    for record in list(transaction.runs_before(None)):
        if record.new.family == family and not record.state.status.final:
            _release(transaction, record, times)
    _keep_reply(transaction, family, operation, times, PauseReport(outcome=PauseOutcome.CHANGED))
    return True


def _change(transaction: Transaction, request: PauseRequest, times: Times, *, pauses: bool) -> PauseReport:
    record = known_run(transaction, request.run_id)
    stored(record)  # raises for a run of a newer schema, which must not be changed
    replied = transaction.find_reply(PauseReport, request.run_id, request.operation)
    if replied is not None:
        return PauseReport(outcome=replied.outcome, sequence=replied.sequence, run=_shown(transaction, record))
    state = record.state
    decision = pausing.pause(state, by=request.by, times=times) if pauses else pausing.unpause(state)
    if decision.verdict is Verdict.STALE:
        return PauseReport(outcome=PauseOutcome.ENDED if state.status.final else PauseOutcome.UNCHANGED)
    record.history.append(entry_of(decision.sequence, "", finished_at=times.now, detail=request.entry))
    telling = of_pause(What.PAUSE if pauses else What.UNPAUSE, decision, times, detail=request.entry)
    tell(transaction, record, telling, stream=request.durations.stream)
    carry_out(transaction, record, decision, times)
    if not pauses:
        _release(transaction, record, times)
    kept = PauseReport(outcome=PauseOutcome.CHANGED, sequence=decision.sequence)
    _keep_reply(transaction, request.run_id, request.operation, times, kept)
    return PauseReport(outcome=kept.outcome, sequence=kept.sequence, run=_shown(transaction, record))


def _release(transaction: Transaction, record: Record, times: Times) -> None:
    if not is_held(transaction, record):
        carry_out(transaction, record, pausing.release(record.state, times), times)


def _shown(transaction: Transaction, record: Record) -> StoredRun:
    return stored(record, workflow_pause=transaction.pauses().get(record.new.family))


def _keep_reply(transaction: Transaction, owner: str, operation: str, times: Times, reply: PauseReport) -> None:
    transaction.save_reply(owner, operation, reply, ends_at=times.moment + REPLY_KEPT)
