"""What a transition of a run asks to be done; data, so that the engine stays pure and every adapter can carry it out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hephaestus_celery.core.values.lifecycle import Status


class TimerKind(StrEnum):
    """What it means when a step's entry in the due set comes due."""

    DISPATCH = "dispatch"  # nobody has claimed the step: send its message again
    BACKOFF = "backoff"  # it has rested long enough after a failed attempt: send the next one
    LEASE = "lease"  # its worker has given no sign of life: the attempt has failed
    TIMEOUT = "timeout"  # it has waited long enough


@dataclass(frozen=True, slots=True)
class DispatchStep:
    """Send a message for this attempt of this step; ``token`` counts its messages."""

    step: str
    attempt: int
    token: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Put the step's one entry in the due set to ``at`` (microseconds on the steady clock of the store)."""

    step: str
    kind: TimerKind
    at: int


@dataclass(frozen=True, slots=True)
class ClearTimer:
    """Take the step's entry out of the due set."""

    step: str


@dataclass(frozen=True, slots=True)
class EnterLane:
    """A message for the step goes to this lane (see :mod:`hephaestus_celery.core.execution.lanes`): it waits there since ``at``."""

    step: str
    lane: str
    at: int


@dataclass(frozen=True, slots=True)
class LeaveLane:
    """The step's message was claimed: it waits in ``left`` no more, and ``lane`` has come to what was sent at ``at``."""

    step: str
    left: str | None
    lane: str
    at: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The run has ended: free its id, forget its timers, begin its retention."""

    status: Status


Command = DispatchStep | SetTimer | ClearTimer | EnterLane | LeaveLane | Finish
