"""The standing of one step of a run: what ``instance.step(Charge)`` gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hephaestus_celery.core.values.lazy import Deferred, Makers
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.step_state import StepState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOVING = (StepStatus.ACTIVE, StepStatus.WAITING)


@dataclass(frozen=True, kw_only=True, repr=False)
class StepStanding(Deferred):
    """How a step of a run stands, as of the moment of its instance. What does not apply is None.

    All is None of a step that the run has not reached, and ``status`` of one that had not ended when its run did.
    ``due_at`` is read from the store when it is first accessed, in one bounded call, and so are the times and the worker of a
    completed step, which the history has (in some more calls the time at which a step failed that others are undone for). Of a
    step that a retry or fork has kept, the history of the earlier run has them.
    ``StorageError`` if the store is out of reach then. An instance of ``aio.get`` has them already, unless its history is long.
    A copy or pickle of an instance reads nothing: take the standing before, since there ``due_at`` and the end of a completed
    step are None.
    """

    status: StepStatus | None = None
    attempt: int | None = None
    max_attempts: int | None = None
    round: int | None = None
    """The round of an ``Again``, from 1."""
    event: str | None = None
    queued_at: datetime | None = field(default_factory=lambda: None)  # not a plain default: see Deferred
    """Since when the attempt was there to be claimed."""
    started_at: datetime | None = field(default_factory=lambda: None)
    """When a worker has claimed the attempt."""
    finished_at: datetime | None = field(default_factory=lambda: None)
    waiting_since: datetime | None = None
    due_at: datetime | None = field(default_factory=lambda: None)
    """When its timer, backoff or lease comes due."""
    accepts: tuple[str, ...] | None = None
    """The names of the events that a resume may bring; None if it does not wait for any."""
    worker: str | None = field(default_factory=lambda: None)
    """The worker that executes it, or was the last to do so."""


def standing_of(
    state: StepState | None, *, status: Status, finished_at: datetime | None, far: Makers | None = None
) -> StepStanding:
    """The standing of a step in this state, in a run of this ``status``; ``far`` makes what the state does not say.

    ``finished_at`` is when a step that has failed did so, where that is when its run has ended.
    """
    if state is None:
        return StepStanding()
    over = status.final and state.status in _MOVING
    reached = state.status is not StepStatus.SKIPPED
    waits = state.waits and not over
    known: dict[str, Any] = {
        "status": None if over else state.status,
        "attempt": state.attempt if reached else None,
        "max_attempts": state.max_attempts if reached else None,
        "round": state.round if reached else None,
        "event": state.event,
        "waiting_since": _moment(state.waiting_since) if waits else None,
        "accepts": tuple(state.accepts) if waits and state.accepts else None,
    }
    begun = state.fence is not None or state.status is not StepStatus.ACTIVE
    near: dict[str, Any] = {
        "queued_at": None if state.backing_off else _moment(state.queued_at),
        "started_at": _moment(state.claimed_at) if begun else None,
        "finished_at": finished_at if state.status is StepStatus.FAILED else None,
        "due_at": None,
        "worker": state.worker,
    }
    makers = far or {}
    known |= {name: value for name, value in near.items() if name not in makers}
    return StepStanding.deferred(makers, far=frozenset(makers), **known)


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)
