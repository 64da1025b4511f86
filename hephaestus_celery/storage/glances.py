"""Values of a glance at a store: how far some of the runs have come that are at work, or were until just now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hephaestus_celery.core.values.lifecycle import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """A run: when it was started, in microseconds, its status, and how many of its steps have completed."""

    started_at: int
    status: Status
    completed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Advances:
    """How many runs there are in each status, and by run id how far some have come that run or have ended."""

    counts: Mapping[Status, int]
    runs: Mapping[str, Advance]
