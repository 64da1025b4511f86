"""The durations that requests bring with them: a store has no such settings of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from hephaestus_celery.core.values.retry import FOREVER

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long a claim holds without renewal, how long a message may wait, how long an ended run is kept, and how much is told.

    Whole microseconds; ``retention`` is None if runs are kept for ever. A runtime makes them once from its settings, and
    passes them to each call whose transition depends on one of them. ``stream`` is no duration, but travels in the same way:
    about how many commits the event stream keeps, 0 where none are told.
    """

    lease: int
    dispatch_timeout: int
    retention: int | None
    stream: int = 0

    @classmethod
    def of(cls, *, lease: timedelta, dispatch_timeout: timedelta, retention: timedelta | None, stream: int = 0) -> Self:
        """These durations, in microseconds."""
        return cls(
            lease=microseconds(lease),
            dispatch_timeout=microseconds(dispatch_timeout),
            retention=None if retention is None else microseconds(retention),
            stream=stream,
        )


def deadline_of(workflow: type[WorkflowDefinition]) -> int | None:
    """The deadline of a workflow in microseconds from the start of a run; None if it has none."""
    given = workflow.deadline
    if given is None:
        return None
    return microseconds(given if isinstance(given, timedelta) else timedelta(seconds=min(given, FOREVER)))


def microseconds(duration: timedelta) -> int:
    """A duration in microseconds, bounded so that a time plus this duration is always a valid date."""
    return min(duration, timedelta(seconds=FOREVER)) // timedelta(microseconds=1)
