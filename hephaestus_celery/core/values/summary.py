"""A run in brief: what listings, counts and dashboards need, without its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.pause import NOT_PAUSED, Pauses
from hephaestus_celery.core.values.step_state import StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run without contexts, results and metadata. ``steps`` is None where there are many; ``start`` is as it is stored.

    ``started_at`` and ``finished_at`` are microseconds since the epoch, on the clock of the store. ``deadline`` is in microseconds from
    the start. ``undoes``: it undoes what had completed, or did so before it ended.
    """

    id: str
    name: str
    family: str
    version: int
    tags: Sequence[str]
    status: Status
    started_at: int
    finished_at: int | None = None
    start: str | None = None
    failed_step: str | None = None
    retried_as: str | None = None
    steps: Mapping[str, StepState] | None = None
    pauses: Pauses = NOT_PAUSED
    deadline: int | None = None
    undoes: bool = False
