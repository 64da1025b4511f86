"""A commit in a transaction: the rules decide, then the store saves the state, the data and the history entry."""

from __future__ import annotations

from dataclasses import replace

from hephaestus_celery.core.execution import pausing, rounds, transitions, waiting
from hephaestus_celery.core.execution.state import AtDone, Decision, RunState, Verdict
from hephaestus_celery.core.execution.telling import Telling, What, of_commit
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.storage.commits import AnyCommit, Cause, Commitment, Complete, Fail, NextRound, Retry, Suspend
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.event_stream import tell
from hephaestus_celery.storage.transactional.pauses import hold_in
from hephaestus_celery.storage.transactional.record import Record, entry_of, stored
from hephaestus_celery.storage.transactional.rounds import keep_state, note
from hephaestus_celery.storage.transactional.transaction import REPLY_KEPT, Transaction

_WHAT = {Complete: What.COMPLETE, Suspend: What.SUSPEND, NextRound: What.AGAIN, Retry: What.RETRY, Fail: What.FAIL}
_OUTCOMES = {
    Complete: "completed",
    Suspend: "waiting",
    NextRound: "again",
    Retry: "retrying",
    Fail: "failed",
}


def commit_in(transaction: Transaction, commit: AnyCommit, times: Times) -> Commitment:
    """Apply the step result of a claimed step."""
    record = transaction.find_run(commit.run_id)
    if record is None:
        return Commitment(verdict=Verdict.STALE)
    replied = transaction.find_reply(Commitment, commit.run_id, commit.operation)
    if replied is not None:
        return replied
    before = record.state
    decision = decide(before, commit, times)
    if decision.verdict in (Verdict.CONFLICT, Verdict.WANTED):
        return Commitment(verdict=decision.verdict, run=stored(record))
    if decision.verdict is Verdict.STALE:
        return Commitment(verdict=Verdict.STALE)
    if isinstance(commit, Complete):
        decision = pausing.hold_completion(decision)
    else:
        decision = hold_in(transaction, record, decision)
    _remember(record, commit, decision, times.now)
    if decision.verdict is Verdict.APPLIED:
        _keep_data(record, commit, decision)
    elif decision.verdict is Verdict.LATE:
        _keep_late(record, commit)
    reply = _reply(record, before, commit, decision)
    carry_out(transaction, record, decision, times)
    tell(transaction, record, _telling(record, commit, before, decision, times), stream=commit.durations.stream)
    transaction.save_reply(commit.run_id, commit.operation, reply, ends_at=times.moment + REPLY_KEPT)
    return reply


def decide(state: RunState, commit: AnyCommit, times: Times) -> Decision:
    """What a commit means for a run in this state."""
    match commit:
        case Complete():
            return _complete(state, commit, times)
        case Suspend():
            return _suspend(state, commit, times)
        case NextRound():
            return rounds.again(state, commit.activation, fence=commit.fence, delay=commit.delay, times=times)
        case Retry():
            return transitions.retry(state, commit.activation, fence=commit.fence, delay=commit.delay, times=times)
        case Fail():
            return transitions.fail(state, commit.activation, fence=commit.fence, times=times)


def _reply(record: Record, before: RunState, commit: AnyCommit, decision: Decision) -> Commitment:
    after = decision.state
    if decision.verdict is Verdict.DISCARDED:
        return Commitment(
            verdict=Verdict.DISCARDED,
            sequence=decision.sequence,
            status_before=before.status,
            status_after=after.status,
        )
    ended_by_undoing = before.undoing is not None and after.status.final
    return Commitment(
        verdict=decision.verdict,
        sequence=decision.sequence,
        status_before=before.status,
        status_after=after.status,
        advance=after.advances,
        active=after.count(StepStatus.ACTIVE),
        activated=decision.activated,
        dispatches=decision.dispatches,
        resumed=decision.verdict is Verdict.APPLIED
        and isinstance(commit, (Suspend, NextRound))
        and bool(decision.dispatches),
        completed=_completed(after) if after.status.final else (),
        finished_at=after.finished_at,
        start=record.start if after.status.final else None,
        shortfall=after.shortfall if after.status is Status.FAILED and after.failed_step is None else None,
        ending=decision.sequence + decision.reserved - 1 if ended_by_undoing else None,
        undoes=before.undoing is None and after.compensating,
        cause=Cause(failure=record.failure, failed_step=after.failed_step, reason=record.cancel_reason)
        if ended_by_undoing
        else None,
    )


def _telling(record: Record, commit: AnyCommit, before: RunState, decision: Decision, times: Times) -> Telling | None:
    what = _WHAT[type(commit)]
    if isinstance(commit, Suspend) and commit.discards and decision.verdict is not Verdict.DISCARDED:
        what = What.DISCARD
    facts = {"took": str(commit.took)}
    if isinstance(commit, (Complete, Retry, Fail)) and commit.kind is not None:
        facts["kind"] = commit.kind
    if isinstance(commit, (Retry, NextRound)) and decision.verdict is Verdict.APPLIED:
        facts["delay"] = str(commit.delay)
    if isinstance(commit, Complete) and decision.done and commit.at_done is AtDone.FAILS:
        facts["refused"] = commit.refused or ""
    return of_commit(
        what,
        before,
        decision,
        commit.activation,
        times,
        detail=commit.entry,
        facts=facts,
        start=record.start,
        stuck=commit.stuck if isinstance(commit, Complete) else "",
        cause={"failure": record.failure, "reason": record.cancel_reason},
    )


def _remember(record: Record, commit: AnyCommit, decision: Decision, now: int) -> None:
    """Add what a commit did to the history."""
    step = record.state.steps[str(commit.activation)]
    outcome = "discarded"
    if decision.verdict is Verdict.APPLIED:
        outcome = _OUTCOMES[type(commit)]
        if isinstance(commit, Suspend) and commit.discards:
            outcome = "discarded"
        if isinstance(commit, Complete) and commit.event == FAILED:
            outcome = "failed"  # of the attempt: its step has completed with that
    elif decision.verdict is Verdict.LATE and (isinstance(commit, (Retry, Fail)) or _takes_failure(commit)):
        outcome = "failed"
    queued = step.resume.at if step.resume is not None else step.queued_at
    entry = entry_of(decision.sequence, outcome, queued, step.claimed_at, now, detail=commit.entry)
    launch = isinstance(commit, Complete) and commit.activation.step == transitions.DONE
    if isinstance(commit, NextRound) and decision.verdict is Verdict.APPLIED:
        note(record, commit.activation.step, entry, number=step.noted + 1, compensates=step.compensates)
    elif not launch or decision.verdict is not Verdict.APPLIED:
        record.history.append(entry)
    if isinstance(commit, Complete) and decision.done:
        failed = commit.at_done is AtDone.FAILS
        number = decision.sequence + decision.reserved - (2 if failed else 3)
        told = "failed" if failed else "completed"
        record.history.append(entry_of(number, told, now, now, now, detail=commit.done_entry))


def _completed(state: RunState) -> tuple[str, ...]:
    """The keys of the completed steps, in the order of their completion."""
    steps = state.steps.items()
    done = [
        (step.order or 0, key)
        for key, step in steps
        if step.status is StepStatus.COMPLETED and step.compensates is None
    ]
    return tuple(key for _, key in sorted(done))


def _keep_data(record: Record, commit: AnyCommit, decision: Decision) -> None:
    """Keep the data that an applied commit brought."""
    match commit:
        case Complete():
            _keep_result(record, commit)
            _keep_outcome(record, commit, decision)
        case Suspend():
            if commit.discards:
                record.data.pop(str(commit.activation), None)
            for early in set(record.state.early) - set(decision.state.early):
                record.data[str(commit.activation)] = record.early.pop(early.number)
        case Fail():
            if record.state.undoing is None:  # the failure of the run is the first one
                record.failure = commit.failure
        case NextRound():
            keep_state(record, commit)
        case Retry():
            pass


def _keep_late(record: Record, commit: AnyCommit) -> None:
    """Keep the result of a step that has ended while its run undoes: nothing follows it, so no configs."""
    record.data.pop(str(commit.activation), None)
    if isinstance(commit, Complete) and not _takes_failure(commit):
        _keep_result(record, replace(commit, configs={}))


def _takes_failure(commit: AnyCommit) -> bool:
    return isinstance(commit, Complete) and commit.event == FAILED


def _keep_outcome(record: Record, commit: Complete, decision: Decision) -> None:
    # What the run has come to, if this commit has ended it.
    if decision.done and commit.at_done is AtDone.FAILS:
        record.failure = commit.outcome
    elif decision.done and commit.outcome is not None:
        record.results[transitions.DONE] = commit.outcome
    elif record.state.undoing is None and (decision.state.compensating or decision.state.status is Status.FAILED):
        record.failure = commit.stuck


def _keep_result(record: Record, commit: Complete) -> None:
    if commit.result is not None:
        record.results[str(commit.activation)] = commit.result
    if commit.metadata is not None:
        record.metadata[str(commit.activation)] = commit.metadata
    record.data.pop(str(commit.activation), None)
    record.round_states.pop(str(commit.activation), None)
    for key, config in commit.configs.items():
        held = record.configs.get(key)
        if held is None or held[0] > commit.rank:
            record.configs[key] = (commit.rank, config)


def _complete(state: RunState, commit: Complete, times: Times) -> Decision:
    return transitions.complete(
        state,
        commit.activation,
        fence=commit.fence,
        event=commit.event,
        settlement=commit.settlement,
        attempts=commit.attempts,
        times=times,
        lanes=commit.lanes,
        expected=commit.expected,
        computed=commit.computed,
        undo=commit.undo,
        at_done=commit.at_done,
    )


def _suspend(state: RunState, commit: Suspend, times: Times) -> Decision:
    if commit.discards:
        return waiting.discard(state, commit.activation, fence=commit.fence, accepts=commit.accepts, times=times)
    return waiting.suspend(
        state,
        commit.activation,
        fence=commit.fence,
        accepts=commit.accepts,
        timeout=commit.timeout,
        times=times,
        checks=commit.checks,
    )
