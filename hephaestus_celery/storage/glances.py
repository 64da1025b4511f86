"""Values of a glance at a store: how far some of the runs have come that are at work, or were until just now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """A run: when it was started, in microseconds, how many of its steps have completed, and whether it has ended."""

    started_at: int
    completed: int
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Advances:
    """``runs`` by run id: some of the ``running``, and ``ended_looked_at`` of the ``ended``."""

    running: int
    ended: int
    ended_looked_at: int
    runs: Mapping[str, Advance]
