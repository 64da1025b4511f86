"""Which runs a listing holds: its filters, and how they match.

Mirrored by ``storage/redis/lua/list.lua``.
"""

from __future__ import annotations

from dataclasses import dataclass

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.summary import RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of a listing; a filter that is None admits every run. Times are microseconds, and exclusive."""

    statuses: frozenset[Status] = frozenset(Status)
    name: str | None = None
    version: int | None = None
    family: str | None = None
    id: str | None = None
    tag: str | None = None
    started_after: int | None = None
    started_before: int | None = None


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
    )
