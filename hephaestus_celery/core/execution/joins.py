"""Joins: when a step completes, its edges are settled, and steps after it start or are skipped.

The law on joins (contract, section 3); everything here follows from it:

    A step starts when every edge into it is settled (taken, or dead) and at least one was taken. When a step completes,
    the edges of its event are taken and its other outgoing edges die. A step is skipped when all edges into it have died,
    and its outgoing edges die in turn.

    A counted join starts when its number of predecessors have taken an edge into it, once, and later arrivals change
    nothing. It is skipped when so many can't any more.

All edges of one source settle at the same moment. So it is enough to count, for each step, the *predecessors* that have
settled, and those among them that took an edge to it. Settling a join then takes O(1) per branch, and the order of the
branches does not matter. A :class:`Settlement` says what a completed step means for the steps after it; :func:`settle`
applies it to the counts. The Redis store does the same in ``complete.lua``; one conformance suite tests both against this
module.

Without counted joins, all other steps have ended when ``Done`` starts or is skipped. With them, some may still run, whose edges
lead to joins that have started or were skipped: they hold the run up no longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How many of a step's predecessors have settled, and how many of these took an edge to it."""

    settled: int = 0
    taken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a settlement needs to know of a step that it may reach; ``needed`` is the number of a counted join, else 0."""

    predecessors: int
    successors: tuple[str, ...] = ()
    needed: int = 0


class Fate(Enum):
    """What becomes of a step by the edges into it that are settled."""

    OPEN = auto()
    STARTS = auto()
    SKIPPED = auto()


def fate_of(arrivals: Arrivals, *, predecessors: int, needed: int) -> Fate:
    """What becomes of a step with so many predecessors; ``needed`` is the number of a counted join, else 0."""
    if needed:
        if arrivals.taken >= needed:
            return Fate.STARTS
        return Fate.OPEN if predecessors - arrivals.settled + arrivals.taken >= needed else Fate.SKIPPED
    if arrivals.settled < predecessors:
        return Fate.OPEN
    return Fate.STARTS if arrivals.taken else Fate.SKIPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A counted join that was skipped: its number, how many predecessors it has, and how many had come."""

    step: str
    needed: int
    predecessors: int
    came: int

    def __str__(self) -> str:
        return f"step {self.step} joins {self.needed} of its {self.predecessors} predecessors, and {self.came} came"

    @property
    def text(self) -> str:
        """How it is stored."""
        return f"{self.needed} {self.predecessors} {self.came} {self.step}"

    @classmethod
    def parse(cls, text: str) -> Shortfall:
        """The one that was stored so."""
        needed, predecessors, came, step = text.split(" ", 3)
        return cls(step=step, needed=int(needed), predecessors=int(predecessors), came=int(came))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A completed step's edges: ``taken`` and ``dead`` keys of its successors, and a row for every step it may settle."""

    taken: tuple[str, ...]
    dead: tuple[str, ...]
    rows: Mapping[str, Row] = field(repr=False)

    @property
    def starts_one(self) -> bool:
        """Whether a step certainly starts: a taken step without other predecessors."""
        return any(self.rows[key].predecessors == 1 for key in self.taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a settlement changes: new counts, steps that start, and skipped steps; ``shortfall`` is the first counted join of these."""

    arrivals: Mapping[str, Arrivals]
    activated: tuple[str, ...]
    skipped: tuple[str, ...]
    shortfall: Shortfall | None = None


def settle(arrivals: Mapping[str, Arrivals], settlement: Settlement, *, met: Container[str] = ()) -> Settled:
    """Apply a settlement to the counts of a run; to be called once per completed step.

    One predecessor of a step settles the step: the last one, or that with which the number of a counted join is there. So it
    starts or is skipped exactly once. Steps that the run has ``met``, by starting or skipping them, stay as they are. If the
    definition was changed under the run, a step may have fewer predecessors than have settled already.
    """
    counts = dict(arrivals)
    activated: dict[str, None] = {}
    skipped: dict[str, None] = {}
    shortfall: Shortfall | None = None
    edges = deque([*((key, True) for key in settlement.taken), *((key, False) for key in settlement.dead)])
    while edges:
        key, taken = edges.popleft()
        row = settlement.rows[key]
        before = counts.get(key, Arrivals())
        now = Arrivals(before.settled + 1, before.taken + taken)
        counts[key] = now
        fate = fate_of(now, predecessors=row.predecessors, needed=row.needed)
        if fate is Fate.OPEN or key in met or key in activated or key in skipped:
            continue
        if fate is Fate.STARTS:
            activated[key] = None
            continue
        skipped[key] = None
        edges.extend((successor, False) for successor in row.successors)
        if row.needed and shortfall is None:
            shortfall = Shortfall(step=key, needed=row.needed, predecessors=row.predecessors, came=now.taken)
    return Settled(arrivals=counts, activated=tuple(activated), skipped=tuple(skipped), shortfall=shortfall)
