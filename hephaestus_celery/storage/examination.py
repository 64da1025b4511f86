"""Values of an examination: what a store says of its server, its schedulers, its active runs and its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server, as it describes itself. ``ahead`` is its clock minus this machine's, in seconds, known to ``unsure`` seconds.

    ``described`` is False where its user may not ask for the rest. Sizes are bytes; ``limit`` is 0 where it has none.
    """

    ahead: float
    unsure: float
    described: bool = True
    software: str = "redis"
    version: str = ""
    append_only: bool = True
    write_failure: str | None = None
    eviction_policy: str = "noeviction"
    evicted: int = 0
    used: int = 0
    limit: int = 0
    machine: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerFacts:
    """A partition's scheduler: its ``owner``, and seconds since it was at work; both None where there is none.

    ``due`` counts the entries of the due set; the first is ``overdue`` by so many seconds, 0 if none is.
    """

    partition: int
    owner: str | None
    silent: float | None
    due: int
    overdue: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRuns:
    """The active runs: how many ``total``, and of those looked at how many of each workflow (stored name), version and status.

    ``idle`` are run ids of those that have work to do, and for which nothing is due and no message is on its way.
    """

    total: int
    looked_at: int
    kinds: Mapping[tuple[str, int, str], int]
    idle: Sequence[str] = ()
    oldest: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedRuns:
    """Runs by workflow (stored name), version and status; ``looked_at`` of ``total`` were counted."""

    total: int
    looked_at: int
    kinds: Mapping[tuple[str, int, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentRuns:
    """How many runs began lately, and how many of these have ended."""

    started: int
    ended: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCensus:
    """The keys of a namespace that were looked at, all of them if ``complete``. ``strays`` have no lifetime and no run."""

    looked_at: int
    complete: bool
    strays: Sequence[str] = ()
