"""The control state of a run (states of its steps, counters, no data), and the decision that a transition makes.

The control state contains no contexts or results. Times are microseconds on the clock of the store; the caller gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from hephaestus_celery.core.execution.commands import Command, DispatchStep
from hephaestus_celery.core.execution.joins import Arrivals, Shortfall
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus, derive
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.undo import Undo, Undoing


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyEvent:
    """An early event, kept for the next step that waits for ``name``; if ``step`` is given, for that step alone.

    ``key`` is the key that it came with.
    """

    number: int
    name: str
    step: str | None
    key: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The control state of a run; the keys of ``steps`` are the texts of their activations.

    ``sequence`` is the last event number given out, ``advances`` the number of engine ticks.

    ``early`` holds the kept events in the order in which they came; ``kept`` is the number of the last. ``timeouts`` names
    the steps whose timer came due before they waited. ``keys`` are the keys of the events that the run has taken;
    ``owners`` names the step that was given the event of a key. ``retried_as`` is the run that a retry has made of this one.
    ``pause`` is the run's own pause; that of its workflow is no part of it. ``shortfall`` is the last counted join that was
    skipped. ``undo`` has the completed steps that have a compensation, in the order of their completion; None if the workflow has no
    compensations. ``undoing``: the run does not complete, and undoes these steps, the last one first.
    """

    status: Status
    steps: Mapping[str, StepState]
    arrivals: Mapping[str, Arrivals] = field(default_factory=dict[str, Arrivals])
    early: tuple[EarlyEvent, ...] = ()
    kept: int = 0
    timeouts: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    owners: Mapping[str, str] = field(default_factory=dict[str, str])
    sequence: int = 0
    advances: int = 0
    applied: int = 0
    finished_at: int | None = None
    failed_step: str | None = None
    retried_as: str | None = None
    pause: PauseMark | None = None
    shortfall: Shortfall | None = None
    undo: tuple[Undo, ...] | None = None
    undoing: Undoing | None = None

    @property
    def compensating(self) -> bool:
        """Whether the run undoes what has completed, and has not ended."""
        return self.undoing is not None and not self.status.final

    def count(self, status: StepStatus) -> int:
        """How many steps are in this status; in a final run nothing is active or waiting."""
        if self.status.final and status in (StepStatus.ACTIVE, StepStatus.WAITING):
            return 0
        return sum(1 for step in self.steps.values() if step.status is status)

    def find(self, activation: Activation) -> StepState | None:
        """The state of this activation; None if it has not been started."""
        return self.steps.get(str(activation))

    def with_step(self, activation: Activation, step: StepState) -> RunState:
        """The state of the run with a new state of one activation."""
        return replace(self, steps={**self.steps, str(activation): step})

    def derived(self) -> RunState:
        """The state of the run with the status that follows from the states of its steps."""
        if self.undoing is not None:  # running until the last compensation has ended, also while one waits
            return replace(self, status=Status.PENDING if self.status is Status.PENDING else Status.RUNNING)
        status = derive(active=self.count(StepStatus.ACTIVE), waiting=self.count(StepStatus.WAITING))
        return replace(self, status=status)


class Verdict(StrEnum):
    """How a transition was taken."""

    APPLIED = "applied"
    DISCARDED = "discarded"  # the run has ended: only the history keeps it
    STALE = "stale"  # not this step, attempt or fence: nothing happened
    TAKEN = "taken"  # a claim: another worker holds the step
    LATE = "late"  # the run undoes what has completed: the step has ended, and nothing follows it
    CONFLICT = "conflict"  # a computed transition was decided on an older context
    WANTED = "wanted"  # the run would complete, and its result is not computed yet: nothing happened


class AtDone(StrEnum):
    """What becomes of a run whose step leads to ``Done``."""

    COMPLETES = "completes"  # its workflow gives no result, or the result has been computed
    ASKS = "asks"  # nothing: whoever commits computes the result first, and commits again
    STARTS = "starts"  # Done is started as any other step: the worker that claims it computes the result
    FAILS = "fails"  # the result could not be computed


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The state after a transition, what must be done, and the facts that telemetry emits.

    ``sequence`` is the first of ``reserved`` event numbers.
    """

    verdict: Verdict
    state: RunState
    commands: tuple[Command, ...] = ()
    sequence: int = 0
    reserved: int = 0
    activated: tuple[str, ...] = ()
    done: bool = False

    @property
    def dispatches(self) -> tuple[DispatchStep, ...]:
        """The messages that are to be sent."""
        return tuple(command for command in self.commands if isinstance(command, DispatchStep))


def stale(state: RunState) -> Decision:
    """Nothing happens: the input does not fit the present state of the run."""
    return Decision(verdict=Verdict.STALE, state=state)


def applied(
    before: RunState,
    after: RunState,
    *,
    reserved: int = 0,
    commands: tuple[Command, ...] = (),
    activated: tuple[str, ...] = (),
    done: bool = False,
) -> Decision:
    """A transition from one state to another; it takes the next ``reserved`` event numbers of the run."""
    return Decision(
        verdict=Verdict.APPLIED,
        state=replace(after, sequence=before.sequence + reserved) if reserved else after,
        commands=commands,
        sequence=before.sequence + 1,
        reserved=reserved,
        activated=activated,
        done=done,
    )
