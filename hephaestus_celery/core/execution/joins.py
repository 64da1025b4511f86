"""Joins: when a step completes, its edges are settled, and steps after it start or are skipped.

The law on joins (contract, section 3); everything here follows from it:

    A step starts when every edge into it is settled (taken, or dead) and at least one was taken. When a step completes,
    the edges of its event are taken and its other outgoing edges die. A step is skipped when all edges into it have died,
    and its outgoing edges die in turn.

All edges of one source settle at the same moment. So it is enough to count, for each step, the *predecessors* that have
settled, and those among them that took an edge to it. Settling a join then takes O(1) per branch, and the order of the
branches does not matter. A :class:`Settlement` says what a completed step means for the steps after it; :func:`settle`
applies it to the counts. The Redis store does the same in ``complete.lua``; one conformance suite tests both against this
module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How many of a step's predecessors have settled, and how many of these took an edge to it."""

    settled: int = 0
    taken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a settlement needs to know of a step that it may reach."""

    predecessors: int
    successors: tuple[str, ...] = ()


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
    """What a settlement changes: new counts, steps that start (``done`` too, if it is reached), and skipped steps."""

    arrivals: Mapping[str, Arrivals]
    activated: tuple[str, ...]
    skipped: tuple[str, ...]


def settle(arrivals: Mapping[str, Arrivals], settlement: Settlement, *, met: Container[str] = ()) -> Settled:
    """Apply a settlement to the counts of a run; to be called once per completed step.

    Only the last predecessor of a step settles the step, so it starts or is skipped exactly once. If the definition was
    changed under the run, a step may have fewer predecessors than have settled already. So steps that the run has ``met``,
    by starting or skipping them, stay as they are.
    """
    counts = dict(arrivals)
    activated: dict[str, None] = {}
    skipped: dict[str, None] = {}
    edges = deque([*((key, True) for key in settlement.taken), *((key, False) for key in settlement.dead)])
    while edges:
        key, taken = edges.popleft()
        row = settlement.rows[key]
        before = counts.get(key, Arrivals())
        now = Arrivals(before.settled + 1, before.taken + taken)
        counts[key] = now
        if now.settled < row.predecessors or key in met or key in activated or key in skipped:
            continue
        if now.taken:
            activated[key] = None
        else:
            skipped[key] = None
            edges.extend((successor, False) for successor in row.successors)
    return Settled(arrivals=counts, activated=tuple(activated), skipped=tuple(skipped))
