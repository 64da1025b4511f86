"""Which runs a listing holds: its filters, and how they match.

Mirrored by ``storage/redis/lua/parts/matching.lua``.
"""

from __future__ import annotations

from dataclasses import dataclass

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.summary import RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of a listing; a filter that is None admits every run. Times are microseconds, and exclusive.

    ``waiting_for`` and ``waiting_since_before`` are about one step: it waits for this event, and has waited since before then.
    """

    statuses: frozenset[Status] = frozenset(Status)
    name: str | None = None
    version: int | None = None
    family: str | None = None
    id: str | None = None
    tag: str | None = None
    started_after: int | None = None
    started_before: int | None = None
    waiting_for: str | None = None
    waiting_since_before: int | None = None
    failed_step: str | None = None
    retried: bool | None = None
    paused: bool | None = None

    @property
    def about_waits(self) -> bool:
        """Whether only runs with a waiting step match."""
        return self.waiting_for is not None or self.waiting_since_before is not None


def matches(run: RunSummary, filters: Filters) -> bool:
    """Whether a run matches all filters."""
    return (
        run.status in filters.statuses
        and filters.name in (None, run.name)
        and filters.version in (None, run.version)
        and filters.family in (None, run.family)
        and filters.id in (None, run.id)
        and (filters.tag is None or filters.tag in run.tags)
        and (filters.started_after is None or run.started_at > filters.started_after)
        and (filters.started_before is None or run.started_at < filters.started_before)
        and filters.failed_step in (None, run.failed_step)
        and filters.paused in (None, bool(run.pauses))
        and (not filters.about_waits or _waits(run, filters))
        and filters.retried in (None, run.retried_as is not None)
    )


def _waits(run: RunSummary, filters: Filters) -> bool:
    # A run that has ended waits for nothing, whatever its steps did then.
    return not run.status.final and any(_is_wait(step, filters) for step in (run.steps or {}).values())


def _is_wait(step: StepState, filters: Filters) -> bool:
    if not step.waits or (filters.waiting_for is not None and filters.waiting_for not in step.accepts):
        return False
    before = filters.waiting_since_before
    return before is None or (step.waiting_since is not None and step.waiting_since < before)
