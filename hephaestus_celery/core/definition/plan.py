"""Plans what follows a step: how the graph settles its edges for each event that it may complete with."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from hephaestus_celery.core.definition.graph import Graph, StepClass, Target
from hephaestus_celery.core.execution.joins import Row, Settlement
from hephaestus_celery.core.execution.reruns import Shape


def shape_of(graph: Graph) -> Shape:
    """The graph by the keys of its steps, as the rule of reruns takes it."""
    steps = graph.topological_order
    return Shape(
        order=[step.key for step in steps],
        initials=frozenset(initial.step.key for initial in graph.initials),
        successors={step.key: [successor.key for successor in graph.successors(step)] for step in steps},
        predecessors={step.key: len(graph.predecessors(step)) for step in steps},
        needed={step.key: number for step, number in graph.joins.items()},
    )


def plan(graph: Graph, source: StepClass, targets: Iterable[Target]) -> Settlement:
    """The settlement of ``source`` whose event leads to ``targets``.

    It stops at steps that surely stay open: they wait for a taken target, or for a step after one. Otherwise the settlement
    of each choice would hold all following steps, even those that the branches share. This rests on the law on joins: a step
    settles only after all of its predecessors. A counted join may have started or ended before this, or be skipped by this.
    """
    taken = tuple(target.step.key for target in targets)
    rows = {key: _row(graph, graph.by_key[key]) for key in taken}
    dead = tuple(step.key for step in graph.successors(source) if step.key not in rows)
    kept = {
        key for key in taken if rows[key].needed <= 1
    }  # such a step is never skipped, so its successors are not needed
    seen: set[str] = set()
    still = _Open(graph, [key for key in taken if not rows[key].needed])
    pending = [(graph.rank(key), key) for key in dead]
    heapify(pending)  # in topological order: the predecessors of a step are known when it is looked at
    while pending:
        _, key = heappop(pending)
        if key in kept or key in seen:
            continue
        seen.add(key)
        step = graph.by_key[key]
        if not graph.needed(step) and any(still.holds(before) for before in graph.predecessors(step)):
            still.add(step)
            rows[key] = _row(graph, step)
            continue
        successors = tuple(successor.key for successor in graph.successors(step))
        rows[key] = _row(graph, step, successors)
        for successor in successors:
            heappush(pending, (graph.rank(successor), successor))
    return Settlement(taken=taken, dead=dead, rows=rows)


def _row(graph: Graph, step: StepClass, successors: tuple[str, ...] = ()) -> Row:
    return Row(predecessors=len(graph.predecessors(step)), successors=successors, needed=graph.needed(step))


class _Open:
    """The steps that a settlement surely leaves open: ``taken`` targets, and what comes after them, but for counted joins."""

    def __init__(self, graph: Graph, taken: Iterable[str]) -> None:
        self._graph = graph
        self._known = {graph.by_key[key]: True for key in taken}
        self._first = min((graph.rank(key) for key in taken), default=len(graph.topological_order))

    def add(self, step: StepClass) -> None:
        """Add a step that was found to be open."""
        self._known[step] = True

    def holds(self, step: StepClass) -> bool:
        """Whether a step is open; asked in topological order."""
        walk = [step]
        while walk:
            here = walk[-1]
            if here in self._known:
                walk.pop()
                continue
            if self._graph.needed(here):
                self._known[here] = False
                continue
            before = [other for other in self._graph.predecessors(here) if self._graph.rank(other.key) >= self._first]
            unknown = [other for other in before if other not in self._known]
            if unknown and not any(self._known.get(other) for other in before):
                walk.extend(unknown)
                continue
            self._known[here] = any(self._known[other] for other in before if other in self._known)
            walk.pop()
        return self._known[step]
