"""Values of what is due: timers, expired leases and late messages, as the store hands them to the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.step_state import StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuedRun:
    """What is known of a run with a rescue: enough to emit it, and to fail the attempt where one was lost.

    Its contexts and results, which may be large, are not read. ``at`` is when this was read, by the clock of the store: 0
    where that is not known.
    """

    header: str
    status: Status
    started_at: int
    start: str | None
    step: StepState
    at: int = field(default=0, compare=False)  # a repeat of the call reads it anew


@dataclass(frozen=True, slots=True, kw_only=True)
class DueEntry:
    """Something that came due and wants more than the store can do.

    ``dispatch`` is to be sent; for ``LEASE_EXPIRED`` and ``TIMED_OUT`` the attempt is to be failed, with ``fence``, whether it was
    executed or its event was being applied; for ``SETTLE`` what follows the step is to be settled. ``sequence``
    is the number reserved for the event of a rescue, 0 where there is none; ``run`` is what is
    known of the run of a rescue, None where that is so much that it must be loaded. ``message_headers`` are the run's.
    """

    kind: Due
    run_id: str
    name: str
    version: int
    dispatch: DispatchStep
    fence: str | None = None
    sequence: int = 0
    run: RescuedRun | None = None
    message_headers: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """A message that is late. ``passed``: one that was sent later on its lane had been claimed when an earlier look was taken."""

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

    ``next_in`` is how many microseconds there are until the next entry comes due, None where there is none.
    ``problems`` says of entries that could not be read why not; they are put off. ``lanes`` are looked at by their own
    times, while something waits there: of those where something may be lost, whoever knows the workers decides that it is.
    """

    held: bool
    next_in: int | None = None
    more: bool = False
    entries: Sequence[DueEntry] = ()
    problems: Sequence[str] = ()
    lanes: Sequence[LaneReport] = ()
