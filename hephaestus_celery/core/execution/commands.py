"""The commands of a transition: what a store or runner is to save, send or set.

They are data, so the engine stays pure and every adapter can carry them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hephaestus_celery.core.execution.lanes import redispatch_interval
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.step_state import StepState


class TimerKind(StrEnum):
    """What it means when a step's entry in the due set comes due."""

    DISPATCH = "dispatch"  # nobody has claimed the step: send its message again
    BACKOFF = "backoff"  # its backoff is over: send the next attempt
    LEASE = "lease"  # its lease expired: the attempt has failed
    TIMEOUT = "timeout"  # it has waited long enough
    ROUND = "round"  # its next round begins: send that


@dataclass(frozen=True, slots=True)
class DispatchStep:
    """Send a message for this attempt of an activation, in this ``round``; ``token`` counts its messages."""

    activation: Activation
    attempt: int
    token: int
    round: int = 1


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Set the step's only entry in the due set to ``at`` (microseconds on the steady clock of the store)."""

    activation: Activation
    kind: TimerKind
    at: int


@dataclass(frozen=True, slots=True)
class ClearTimer:
    """Take the step's entry out of the due set."""

    activation: Activation


@dataclass(frozen=True, slots=True)
class EnterLane:
    """A message for the step waits in this lane since ``at``; see :mod:`hephaestus_celery.core.execution.lanes`."""

    activation: Activation
    lane: str
    at: int


@dataclass(frozen=True, slots=True)
class LeaveLane:
    """The step's message was claimed: it no longer waits in ``left``, and ``lane`` was claimed up to the time ``at``."""

    activation: Activation
    left: str | None
    lane: str
    at: int


@dataclass(frozen=True, slots=True)
class Park:
    """The run is paused: nothing comes due for the step, and its message no longer waits in ``lane``."""

    activation: Activation
    lane: str | None


@dataclass(frozen=True, slots=True)
class Finish:
    """The run has ended: free its id, forget its timers, begin its retention."""

    status: Status


Command = DispatchStep | SetTimer | ClearTimer | EnterLane | LeaveLane | Park | Finish


def last_message(activation: Activation, step: StepState) -> DispatchStep:
    """The last message of a step in this state."""
    return DispatchStep(activation, step.attempt, step.dispatch, step.round)


def send(activation: Activation, step: StepState, times: Times) -> tuple[Command, ...]:
    """Send the last message of a step and watch it: on its lane, or by a timer if the lane is not known."""
    message = last_message(activation, step)
    if step.lane is not None:
        return ClearTimer(activation), EnterLane(activation, step.lane, times.moment), message
    interval = redispatch_interval(sent=times.now, resends=step.resends, timeout=times.dispatch_timeout)
    return SetTimer(activation, TimerKind.DISPATCH, times.moment + interval), message
