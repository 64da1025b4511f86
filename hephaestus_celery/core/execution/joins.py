"""Joins: when a step completes, its edges are settled, and steps after it start or are skipped.

The law on joins (contract, section 3), from which everything here follows:

    A step starts when every edge into it is settled (taken, or dead) and at least one was taken. When a step completes,
    the edges of the event that it gave are taken and its other outgoing edges die; a step all of whose edges died is
    skipped, and its outgoing edges die in turn.

All edges of one source settle at the same moment, so it is enough to count, for each step, the *predecessors* that have
settled and whether any of them took an edge here. That makes the settlement of a join O(1) per branch, and the result
the same in whatever order the branches come. A :class:`Settlement` says what a completed step means for the steps
after it; :func:`settle` applies it to the counts. The Redis store does the same in ``complete.lua``; one conformance suite
holds both to this module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Of a step's predecessors, how many have settled and how many of those took an edge to it."""

    settled: int = 0
    taken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the settlement must know of a step it may reach."""

    predecessors: int
    successors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A completed step's edges: ``taken`` and ``dead`` keys of its successors, ``rows`` for whatever may be settled."""

    taken: tuple[str, ...]
    dead: tuple[str, ...]
    rows: Mapping[str, Row] = field(repr=False)

    @property
    def starts_one(self) -> bool:
        """Whether a step starts, whatever else has settled: one that has no other predecessor."""
        return any(self.rows[key].predecessors == 1 for key in self.taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a settlement changes: new counts, steps that start (``done`` among them where it is reached), steps skipped."""

    arrivals: Mapping[str, Arrivals]
    activated: tuple[str, ...]
    skipped: tuple[str, ...]


def settle(arrivals: Mapping[str, Arrivals], settlement: Settlement, *, met: Container[str] = ()) -> Settled:
    """Apply a settlement to the counts of a run; to be called once per completed step.

    A step can be reached here only by its last predecessor, so it is started or skipped exactly once. Where the definition
    was changed under the run, its predecessors may be fewer than had come by then: steps that the run has ``met``, that is
    started or skipped, stay as they are.
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
