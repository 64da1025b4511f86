"""One run in memory: its state and data, and what a commit does to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hephaestus_celery.core.execution import transitions
from hephaestus_celery.core.execution.state import Decision, RunState, Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.uniqueness import Claimant
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.storage.commits import Complete, Fail, Retry, Suspend
from hephaestus_celery.storage.queries import StoredEntry, StoredRun
from hephaestus_celery.storage.schema import SCHEMA, written_by_newer
from hephaestus_celery.storage.starts import NewRun


@dataclass(slots=True)
class Record:
    """A run: where it stands, and the JSON texts that came with it."""

    new: NewRun
    state: RunState
    started_at: int
    start: str
    results: dict[str, str] = field(default_factory=dict[str, str])
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    configs: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    data: dict[str, str] = field(default_factory=dict[str, str])
    early: dict[int, str] = field(default_factory=dict[int, str])
    history: list[StoredEntry] = field(default_factory=list[StoredEntry])
    failure: str | None = None
    cancel_reason: str | None = None


def decide(state: RunState, commit: Complete | Suspend | Retry | Fail, times: Times) -> Decision:
    """What a commit means for a run in this state."""
    match commit:
        case Complete():
            return _complete(state, commit, times)
        case Suspend():
            return _suspend(state, commit, times)
        case Retry():
            return transitions.retry(state, commit.activation, fence=commit.fence, delay=commit.delay, times=times)
        case Fail():
            return transitions.fail(state, commit.activation, fence=commit.fence, times=times)


def stored(record: Record) -> StoredRun:
    """The run as the port gives it; ``StorageError`` for one that is newer than this code."""
    _check_schema(record)
    state = record.state
    return StoredRun(
        header=record.new.header,
        initial=record.new.initial,
        status=state.status,
        started_at=record.started_at,
        finished_at=state.finished_at,
        start=record.start,
        sequence=state.sequence,
        steps=dict(state.steps),
        results=dict(record.results),
        metadata=dict(record.metadata),
        configs={key: text for key, (_, text) in record.configs.items()},
        failed_step=state.failed_step,
        failure=record.failure,
        cancel_reason=record.cancel_reason,
        message_headers=record.new.message_headers,
        active=state.count(StepStatus.ACTIVE),
        applied=state.applied,
    )


def summary(record: Record) -> RunSummary:
    """The run as a listing gives it; ``StorageError`` for one that is newer than this code."""
    _check_schema(record)
    return brief(record)


def brief(record: Record) -> RunSummary:
    """The same of any run: enough to say whether a listing holds it."""
    new, state = record.new, record.state
    return RunSummary(
        id=new.instance_id,
        name=new.name,
        family=new.family,
        version=new.version,
        tags=new.tags,
        status=state.status,
        started_at=record.started_at,
        finished_at=state.finished_at,
        start=record.start,
        failed_step=state.failed_step,
        steps=state.steps,
    )


def _check_schema(record: Record) -> None:
    if record.new.schema > SCHEMA:
        raise written_by_newer(record.new.run_id, record.new.schema)


def claimant(run: NewRun) -> Claimant:
    """A run, as the rule of unique ids sees it."""
    return Claimant(run_id=run.run_id, scope=run.scope, family=run.family, version=run.version)


def remember(record: Record, commit: Complete | Suspend | Retry | Fail, decision: Decision, now: int) -> None:
    """Add what a commit did to the history."""
    step = record.state.steps[str(commit.activation)]
    outcome = "discarded"
    if decision.verdict is Verdict.APPLIED:
        outcome = {Complete: "completed", Suspend: "waiting", Retry: "retrying", Fail: "failed"}[type(commit)]
    queued = step.resume.at if step.resume is not None else step.queued_at
    if commit.activation.step != transitions.DONE:
        record.history.append(entry_of(decision.sequence, outcome, queued, step.claimed_at, now, detail=commit.entry))
    if isinstance(commit, Complete) and decision.done:
        last = decision.sequence + decision.reserved - 1
        record.history.append(entry_of(last - 2, "completed", now, now, now, detail=commit.done_entry))


def completed(state: RunState) -> tuple[str, ...]:
    """The keys of the completed steps, in the order of their completion."""
    done = [(step.order or 0, key) for key, step in state.steps.items() if step.status is StepStatus.COMPLETED]
    return tuple(key for _, key in sorted(done))


def record_data(record: Record, commit: Complete | Suspend | Retry | Fail, decision: Decision) -> None:
    """Keep the data that an applied commit brought."""
    match commit:
        case Complete():
            _record_result(record, commit)
            if decision.state.status is Status.FAILED:
                record.failure = commit.stuck
        case Suspend():
            for early in set(record.state.early) - set(decision.state.early):
                record.data[str(commit.activation)] = record.early.pop(early.number)
        case Fail():
            record.failure = commit.failure
        case Retry():
            pass


def _record_result(record: Record, commit: Complete) -> None:
    if commit.result is not None:
        record.results[str(commit.activation)] = commit.result
    if commit.metadata is not None:
        record.metadata[str(commit.activation)] = commit.metadata
    record.data.pop(str(commit.activation), None)
    for key, config in commit.configs.items():
        held = record.configs.get(key)
        if held is None or held[0] > commit.rank:
            record.configs[key] = (commit.rank, config)


def entry_of(
    sequence: int,
    outcome: str,
    queued_at: int | None = None,
    started_at: int | None = None,
    finished_at: int | None = None,
    *,
    detail: str,
) -> StoredEntry:
    """A line of the history."""
    return StoredEntry(
        sequence=sequence,
        outcome=outcome,
        queued_at=queued_at,
        started_at=started_at,
        finished_at=finished_at,
        detail=detail,
    )


def read_cursor(cursor: str | None) -> tuple[int, str] | None:
    """The place in the order of starts that a cursor names."""
    if cursor is None:
        return None
    score, _, run_id = cursor.partition(":")
    return int(score), run_id


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
    )


def _suspend(state: RunState, commit: Suspend, times: Times) -> Decision:
    return transitions.suspend(
        state, commit.activation, fence=commit.fence, accepts=commit.accepts, timeout=commit.timeout, times=times
    )
