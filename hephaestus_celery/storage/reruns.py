"""Values of reruns: a run that a retry or a fork makes of an earlier one, and why it may be refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.joins import Arrivals, Shortfall
from hephaestus_celery.core.execution.reruns import Obstacle
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.exceptions import AlreadyRunningError, RunStateError
from hephaestus_celery.storage.starts import NewRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """A run to be made of the run ``source``, by a retry or (if ``retry`` is False) by a fork.

    ``run`` is the new run: its ``firsts`` are the steps that are active. Its ``initial`` is empty where it is that of the
    source. ``kept`` are the completed steps, in the order of their completion: their results, metadata and configs are
    copied. ``skipped`` and ``arrivals`` say where joins stand, ``shortfall`` names a counted join among the skipped. ``given`` are steps whose config is copied although they have
    not completed; ``configs`` are configs that are not copied, each with the rank of its source. ``entry`` is the history entry.
    ``undo`` says how kept steps are undone. ``left`` is how many compensations of the source had not begun when it was read; None if
    it did not undo what had completed.
    """

    run: NewRun
    source: str
    retry: bool
    entry: str
    kept: Mapping[str, StepState]
    skipped: Sequence[str] = ()
    arrivals: Mapping[str, Arrivals] = field(default_factory=dict[str, Arrivals])
    shortfall: Shortfall | None = None
    given: Collection[str] = ()
    configs: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    undo: Sequence[Undo] = ()
    left: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A slice of a rerun was copied: the messages to be sent, and whether more is to be copied.

    ``failed``: the earlier run is gone, and the rerun has failed; the number of that event.
    """

    dispatches: Sequence[DispatchStep] = ()
    more: bool = False
    failed: int | None = None


def refused(
    obstacle: Obstacle, *, instance_id: str, source: str, retried_as: str | None = None, active: bool = False
) -> RunStateError | AlreadyRunningError:
    """The error of a retry or fork that meets an obstacle; ``active``: the run that came of an earlier retry is."""
    match obstacle:
        case Obstacle.RETRIED if active:
            return AlreadyRunningError(
                f"{instance_id} is running already: run {source} was retried, and run {retried_as} came of it; wait for its end"
            )
        case Obstacle.RETRIED:
            return RunStateError(
                f"run {source} of {instance_id} was retried before, and a run is retried once; run {retried_as} came of it: "
                "retry that one"
            )
        case Obstacle.ACTIVE:
            return AlreadyRunningError(
                f"{instance_id} is running already (run {source}); wait for its end, cancel it, or fork it to another value"
            )
        case Obstacle.COMPENSATING:
            return RunStateError(
                f"run {source} of {instance_id} undoes what had completed, or has begun to meanwhile; wait for its end, and try again"
            )
        case Obstacle.COMPLETED:
            return RunStateError(
                f"run {source} of {instance_id} has completed; only a run that has failed or was cancelled can be retried. Fork it "
                "to run some of its steps again"
            )


LOST = (
    '{"kind":"exit","type":"InstanceNotFoundError","message":"run %s, from which this run is made, was gone before all of it was '
    'copied","stacktrace":null}'
)
"""The failure of a rerun whose source is gone too early, with the id of that run."""


def half_copied(run_id: str) -> RunStateError:
    """The error of a retry or fork of a run that is not whole itself."""
    return RunStateError(
        f"run {run_id} is made of an earlier one, and not all of that is copied; try again when it is, or use the earlier run"
    )
