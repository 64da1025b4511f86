"""Values of what is due: timers, expired leases and late messages, as the store hands them to the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.claims import Attempt

SEIZED = (Due.LEASE_EXPIRED, Due.TIMED_OUT)
"""The kinds of entries whose attempt was seized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuedRun:
    """What a rescue needs of its run: enough to emit the event, and to fail a lost attempt.

    Contexts and results may be large and are not read. ``at`` is when this was read, by the clock of the store; 0 if that is
    not known.
    """

    header: str
    status: Status
    started_at: int
    start: str | None
    step: StepState
    at: int = field(default=0, compare=False)  # a repeat of the call reads it anew


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredRun:
    """What the event of a run needs that has not ended in time. Contexts and results are not read.

    ``header`` is None if it is long, and must be read.
    ``started_at``, ``finished_at`` and ``deadline`` are in microseconds, the latter from the start. ``completed`` is how many
    steps have completed; None if there are many, which must be counted.
    ``undoes``: the run has not ended yet, and undoes what has completed; ``dispatches`` are the messages to be sent for that.
    """

    header: str | None
    started_at: int
    finished_at: int
    start: str | None
    deadline: int
    advances: int
    completed: int | None
    undoes: bool = False
    dispatches: Sequence[DispatchStep] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DueEntry:
    """An entry that came due and needs more than the store can do.

    ``dispatch`` is to be sent. For ``LEASE_EXPIRED`` and ``TIMED_OUT`` the caller fails the ``attempt`` that was seized,
    whether a worker executed it or applied its event. For ``SETTLE`` the caller settles the edges of the step. For ``DEADLINE`` the run has
    failed, and the caller emits that; ``expired`` is what it needs for that. ``sequence`` is the number reserved for the event of a rescue; 0 if there is no such event. ``run`` is what a rescue needs of its run; None if
    that is large and must be loaded. ``message_headers`` are the run's. ``held``: the run is paused, so nothing is sent.
    """

    kind: Due
    run_id: str
    name: str
    version: int
    dispatch: DispatchStep
    attempt: Attempt | None = None
    sequence: int = 0
    run: RescuedRun | None = None
    message_headers: str | None = None
    held: bool = False
    expired: ExpiredRun | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """A late message. ``passed``: an earlier look already found that a later message of its lane had been claimed."""

    run_id: str
    name: str
    version: int
    dispatch: DispatchStep
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that was sent, and the lane that it went to."""

    run_id: str
    dispatch: DispatchStep
    lane: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """Messages of a lane that may be lost. ``moves``: something was claimed there since the last look."""

    lane: str
    moves: bool
    outstanding: Sequence[Outstanding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What has come due. ``held``: the caller is the one scheduler; ``more``: ask again at once.

    ``next_in`` is the time until the next entry comes due, in microseconds; None if there is no entry. ``problems`` says why
    entries could not be read; these are put off. ``lanes`` reports lanes whose messages may be lost. The caller knows what the
    workers hold, and decides which messages are lost. A lane is looked at by its own times, while messages wait in it.
    """

    held: bool
    next_in: int | None = None
    more: bool = False
    entries: Sequence[DueEntry] = ()
    problems: Sequence[str] = ()
    lanes: Sequence[LaneReport] = ()
