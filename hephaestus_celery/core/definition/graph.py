"""The graph of a workflow: where each event of each step leads; computed once, when the workflow is defined."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.step import Step, StepConfig
from hephaestus_celery.core.values.names import FAILED

StepClass = type[Step[Any]]
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Target:
    """A step that an event leads to, with the config that it is given."""

    step: StepClass
    config: StepConfig = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """``source`` giving ``event`` leads to ``target``; ``dynamic``: only where a ``@route`` chooses so."""

    source: StepClass
    event: str
    target: StepClass
    dynamic: bool


@dataclass(frozen=True, kw_only=True)
class Graph:
    """An acyclic graph of steps with one end, ``Done``; all of ``initials`` start at once.

    ``table`` maps ``(source, event)`` to targets in the order of their declaration. ``dynamic`` maps each pair whose targets a
    ``@route`` computes to the name of the method. ``joins`` has the number of each counted join: so many predecessors must
    take an edge into it. ``compensations`` maps a step to the one that undoes it, which stands in ``by_key`` alone.
    """

    initials: tuple[Target, ...]
    table: Mapping[tuple[StepClass, str], tuple[Target, ...]]
    dynamic: Mapping[tuple[StepClass, str], str] = field(default_factory=dict[tuple[StepClass, str], str])
    joins: Mapping[StepClass, int] = field(default_factory=dict[StepClass, int])
    compensations: Mapping[StepClass, StepClass] = field(default_factory=dict[StepClass, StepClass])

    edges: tuple[Edge, ...] = field(init=False, repr=False, compare=False)
    """Every edge, in the order of declaration."""
    by_key: dict[str, StepClass] = field(init=False, repr=False, compare=False)
    """The steps by key: compensations, then the others in the order in which a reader of the definition meets them; ``Done`` last."""
    topological_order: tuple[StepClass, ...] = field(init=False, repr=False, compare=False)
    """Every step, each after all of its predecessors; ``Done`` is the last."""
    catching: frozenset[StepClass] = field(init=False, repr=False, compare=False)
    """The steps whose failure a ``FAILED`` transition takes."""
    compensating: frozenset[StepClass] = field(init=False, repr=False, compare=False)
    """The steps that undo others: no event leads to them, and none of theirs leads anywhere."""

    _predecessors: Mapping[StepClass, tuple[StepClass, ...]] = field(init=False, repr=False, compare=False)
    _successors: Mapping[StepClass, tuple[StepClass, ...]] = field(init=False, repr=False, compare=False)
    _rank: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _configs: Mapping[StepClass, tuple[StepConfig, ...]] = field(init=False, repr=False, compare=False)
    _events: Mapping[StepClass, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        edges = tuple(
            Edge(source=source, event=event, target=target.step, dynamic=(source, event) in self.dynamic)
            for (source, event), targets in self.table.items()
            for target in targets
        )
        by_key = _by_key(self.initials, edges)
        undoing = {step.key: step for step in self.compensations.values()}
        predecessors = _gathered(by_key, ((edge.target, edge.source) for edge in edges))
        successors = _gathered(by_key, ((edge.source, edge.target) for edge in edges))
        order = _ordered(predecessors, successors)
        placed = [*self.initials, *(target for targets in self.table.values() for target in targets)]
        configs: dict[StepClass, list[StepConfig]] = {step: [] for step in order}
        for target in placed:
            configs[target.step].append(target.config)
        computed = {
            "edges": edges,
            "by_key": {**undoing, **by_key},
            "compensating": frozenset(undoing.values()),
            "topological_order": order,
            "catching": frozenset(source for source, event in self.table if event == FAILED),
            "_predecessors": predecessors,
            "_successors": successors,
            "_rank": {step.key: rank for rank, step in enumerate(order)},
            "_configs": {step: tuple(given) for step, given in configs.items()},
            "_events": _gathered(by_key, self.table),
        }
        self.__dict__.update(computed)  # frozen for everybody else

    @cached_property
    def typed_events(self) -> frozenset[str]:
        """The names of the events from outside that are for steps whose results have a type."""
        typed = [step for step in self.by_key.values() if step.__data_type__ is not None]
        return frozenset(name for step in typed for config in self.configs(step) for name in step.resume_events(config))

    @property
    def initial(self) -> Target:
        """The first of ``initials``."""
        return self.initials[0]

    def predecessors(self, step: StepClass) -> tuple[type[Step], ...]:
        """The steps that have an edge into ``step``; ``KeyError`` for a step that is not in the graph."""
        return () if step in self.compensating else self._predecessors[step]

    def needed(self, step: StepClass) -> int:
        """How many predecessors must take an edge into ``step``, if it is a counted join; else 0."""
        return self.joins.get(step, 0)

    def successors(self, step: StepClass) -> tuple[type[Step], ...]:
        """The steps that ``step`` has an edge to."""
        return () if step in self.compensating else self._successors[step]

    def events(self, step: StepClass) -> tuple[str, ...]:
        """The events of ``step`` that have a transition, in the order of declaration."""
        return () if step in self.compensating else self._events[step]

    def configs(self, step: StepClass) -> tuple[StepConfig, ...]:
        """The configs that the definition gives ``step`` wherever it is a target; None among them for a bare one.

        A compensation is no target, and is given none.
        """
        return (None,) if step in self.compensating else self._configs[step]

    def rank(self, key: str) -> int:
        """The place of a step in ``topological_order``; that of a compensation is behind all others."""
        return self._rank.get(key, len(self._rank))


def _by_key(initials: Iterable[Target], edges: Iterable[Edge]) -> dict[str, StepClass]:
    steps: dict[str, StepClass] = {initial.step.key: initial.step for initial in initials}
    for edge in edges:
        steps.setdefault(edge.source.key, edge.source)
        steps.setdefault(edge.target.key, edge.target)
    steps.pop(Done.key, None)
    return {**steps, Done.key: Done}


def _gathered(by_key: Mapping[str, StepClass], pairs: Iterable[tuple[StepClass, V]]) -> dict[StepClass, tuple[V, ...]]:
    """For each step the values that ``pairs`` has for it, each once, in order of appearance."""
    found: dict[StepClass, dict[V, None]] = {step: {} for step in by_key.values()}
    for step, value in pairs:
        found[step][value] = None
    return {step: tuple(values) for step, values in found.items()}


def _ordered(
    predecessors: Mapping[StepClass, Sequence[StepClass]], successors: Mapping[StepClass, Sequence[StepClass]]
) -> tuple[StepClass, ...]:
    remaining = {step: len(before) for step, before in predecessors.items()}
    ready = deque(step for step, count in remaining.items() if count == 0)
    order: list[StepClass] = []
    while ready:
        step = ready.popleft()
        order.append(step)
        for successor in successors[step]:
            remaining[successor] -= 1
            if remaining[successor] == 0:
                ready.append(successor)
    return tuple(order)
