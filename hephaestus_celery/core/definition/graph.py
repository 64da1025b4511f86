"""The graph of a workflow: which event of which step leads where; computed once, when the workflow is defined."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.step import Step, StepConfig
from hephaestus_celery.core.values.lazy import once

StepClass = type[Step]


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

    ``table`` maps ``(source, event)`` to targets in the order of their declaration; ``dynamic`` maps those pairs of it whose
    targets a ``@route`` computes to the name of its method.
    """

    initials: tuple[Target, ...]
    table: Mapping[tuple[StepClass, str], tuple[Target, ...]]
    dynamic: Mapping[tuple[StepClass, str], str] = field(default_factory=dict[tuple[StepClass, str], str])

    @property
    def initial(self) -> Target:
        """The first of ``initials``."""
        return self.initials[0]

    @once
    def edges(self) -> tuple[Edge, ...]:
        """Every edge, in the order of declaration."""
        return tuple(
            Edge(source=source, event=event, target=target.step, dynamic=(source, event) in self.dynamic)
            for (source, event), targets in self.table.items()
            for target in targets
        )

    @once
    def topological_order(self) -> tuple[StepClass, ...]:
        """Every step, each after all of its predecessors; ``Done`` is the last."""
        remaining = {step: len(self.predecessors(step)) for step in self.by_key.values()}
        ready = deque(step for step, count in remaining.items() if count == 0)
        order: list[StepClass] = []
        while ready:
            step = ready.popleft()
            order.append(step)
            for successor in self.successors(step):
                remaining[successor] -= 1
                if remaining[successor] == 0:
                    ready.append(successor)
        return tuple(order)

    @once
    def by_key(self) -> dict[str, StepClass]:
        """The steps by key, in the order in which a reader of the definition meets them; ``Done`` last."""
        steps: dict[str, StepClass] = {initial.step.key: initial.step for initial in self.initials}
        for edge in self.edges:
            steps.setdefault(edge.source.key, edge.source)
            steps.setdefault(edge.target.key, edge.target)
        steps.pop(Done.key, None)
        return {**steps, Done.key: Done}

    @once
    def _predecessors(self) -> dict[StepClass, tuple[StepClass, ...]]:
        found: dict[StepClass, dict[StepClass, None]] = {step: {} for step in self.by_key.values()}
        for edge in self.edges:
            found[edge.target][edge.source] = None
        return {step: tuple(sources) for step, sources in found.items()}

    @once
    def _successors(self) -> dict[StepClass, tuple[StepClass, ...]]:
        found: dict[StepClass, dict[StepClass, None]] = {step: {} for step in self.by_key.values()}
        for edge in self.edges:
            found[edge.source][edge.target] = None
        return {step: tuple(targets) for step, targets in found.items()}

    @once
    def _rank(self) -> dict[str, int]:
        return {step.key: rank for rank, step in enumerate(self.topological_order)}

    @once
    def _configs(self) -> dict[StepClass, tuple[StepConfig, ...]]:
        found: dict[StepClass, list[StepConfig]] = {step: [] for step in self.by_key.values()}
        for target in (*self.initials, *(target for targets in self.table.values() for target in targets)):
            found[target.step].append(target.config)
        return {step: tuple(configs) for step, configs in found.items()}

    @once
    def _events(self) -> dict[StepClass, tuple[str, ...]]:
        found: dict[StepClass, list[str]] = {step: [] for step in self.by_key.values()}
        for source, event in self.table:
            found[source].append(event)
        return {step: tuple(events) for step, events in found.items()}

    def predecessors(self, step: StepClass) -> tuple[StepClass, ...]:
        """The steps that have an edge into ``step``; ``KeyError`` for a step that is not in the graph."""
        return self._predecessors[step]

    def successors(self, step: StepClass) -> tuple[StepClass, ...]:
        """The steps that ``step`` has an edge to."""
        return self._successors[step]

    def events(self, step: StepClass) -> tuple[str, ...]:
        """The events of ``step`` that have a transition, in the order of declaration."""
        return self._events[step]

    def configs(self, step: StepClass) -> tuple[StepConfig, ...]:
        """The configs that the definition gives ``step`` wherever it is a target; None among them for a bare one."""
        return self._configs[step]

    def rank(self, key: str) -> int:
        """The place of a step in ``topological_order``."""
        return self._rank[key]
