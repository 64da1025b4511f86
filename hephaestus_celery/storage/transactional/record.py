"""The record of one run in a transaction: its state, its JSON texts, and the views that the port gives of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hephaestus_celery.core.execution.state import RunState
from hephaestus_celery.core.execution.uniqueness import Claimant
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.pause import NOT_PAUSED, PauseMark, Pauses
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.storage.queries import StoredEntry, StoredRun
from hephaestus_celery.storage.resume_and_cancel import RunAddress
from hephaestus_celery.storage.schema import PAUSED, SCHEMA, written_by_newer
from hephaestus_celery.storage.starts import NewRun


@dataclass(slots=True)
class Record:
    """A run: its state, and the JSON texts that came with it.

    ``rescues`` holds the fence or operation of each step's last rescue, and the number of its event: the call may be
    repeated. ``rounds`` holds the entries of later rounds of an ``Again``, by place and step, that of the ones left out without a
    place; ``round_states`` is what they were given. ``raised`` is the schema number that the run needs since it began.
    """

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
    rescues: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    rounds: dict[str, StoredEntry] = field(default_factory=dict[str, StoredEntry])
    round_states: dict[str, str] = field(default_factory=dict[str, str])
    raised: int = 0

    @property
    def schema(self) -> int:
        """The schema number that the run needs now."""
        paused = self.state.pause is not None and not self.state.status.final
        return max(self.new.schema, self.raised, PAUSED if paused else 0)


def stored(record: Record, *, workflow_pause: PauseMark | None = None) -> StoredRun:
    """The run as the port gives it; ``StorageError`` if its schema is newer than this code."""
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
        round_states=dict(record.round_states),
        failed_step=state.failed_step,
        failure=record.failure,
        cancel_reason=record.cancel_reason,
        retried_as=state.retried_as,
        message_headers=record.new.message_headers,
        active=state.count(StepStatus.ACTIVE),
        applied=state.applied,
        pauses=pauses_of(record, workflow_pause),
        shortfall=state.shortfall,
        deadline=record.new.deadline,
        undo=undo_texts(record),
        undo_count=None if state.undo is None else len(state.undo),
        undoing=state.undoing,
    )


def undo_texts(record: Record) -> dict[str, str]:
    """How the completed steps of a run are undone, by number."""
    return {str(number): entry.text for number, entry in enumerate(record.state.undo or (), 1)}


def summary(record: Record, *, workflow_pause: PauseMark | None = None) -> RunSummary:
    """The run as a listing gives it; ``StorageError`` if its schema is newer than this code."""
    _check_schema(record)
    return brief(record, workflow_pause=workflow_pause)


def brief(record: Record, *, workflow_pause: PauseMark | None = None) -> RunSummary:
    """The run as a listing gives it, also if its schema is newer: enough to match filters."""
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
        retried_as=state.retried_as,
        steps=state.steps,
        pauses=pauses_of(record, workflow_pause),
        deadline=new.deadline,
        undoes=state.undoing is not None,
    )


def pauses_of(record: Record, workflow_pause: PauseMark | None) -> Pauses:
    """What holds the run, given the pause of its workflow; nothing holds a run that has ended."""
    return NOT_PAUSED if record.state.status.final else Pauses(run=record.state.pause, workflow=workflow_pause)


def _check_schema(record: Record) -> None:
    if record.schema > SCHEMA:
        raise written_by_newer(record.new.run_id, record.schema)


def claimant(run: NewRun) -> Claimant:
    """The part of a run that the rule of unique ids needs."""
    return Claimant(run_id=run.run_id, scope=run.scope, family=run.family, version=run.version)


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


def address(record: Record) -> RunAddress:
    """What every message of a run needs."""
    new = record.new
    return RunAddress(run_id=new.run_id, name=new.name, version=new.version, message_headers=new.message_headers)
