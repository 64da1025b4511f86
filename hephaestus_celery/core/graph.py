"""The graph of a workflow: which event of which step leads where; computed once, when the workflow is defined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from hephaestus_celery.core.builtin import Done
from hephaestus_celery.core.step import Step, StepConfig

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

    ``table`` maps ``(source, event)`` to targets in the order of their declaration; ``dynamic`` names those pairs of it
    whose targets a ``@route`` computes.
    """

    initials: tuple[Target, ...]
    table: Mapping[tuple[StepClass, str], tuple[Target, ...]]
    dynamic: frozenset[tuple[StepClass, str]] = frozenset()

    @property
    def initial(self) -> Target:
        """The first of ``initials``."""
        return self.initials[0]

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge, in the order of declaration."""
        return tuple(
            Edge(source=source, event=event, target=target.step, dynamic=(source, event) in self.dynamic)
            for (source, event), targets in self.table.items()
            for target in targets
        )

    @cached_property
    def topological_order(self) -> tuple[StepClass, ...]:
        """Every step, each after all of its predecessors; ``Done`` is the last."""
        remaining = {step: len(self.predecessors(step)) for step in self.by_key.values()}
        ready = [step for step, count in remaining.items() if count == 0]
        order: list[StepClass] = []
        while ready:
            step = ready.pop(0)
            order.append(step)
            for successor in self.successors(step):
                remaining[successor] -= 1
                if remaining[successor] == 0:
                    ready.append(successor)
        return tuple(order)

    @cached_property
    def by_key(self) -> dict[str, StepClass]:
        """The steps by key, in the order in which a reader of the definition meets them; ``Done`` last."""
        steps: dict[str, StepClass] = {initial.step.key: initial.step for initial in self.initials}
        for edge in self.edges:
            steps.setdefault(edge.source.key, edge.source)
            steps.setdefault(edge.target.key, edge.target)
        steps.pop(Done.key, None)
        return {**steps, Done.key: Done}

    @cached_property
    def _predecessors(self) -> dict[StepClass, tuple[StepClass, ...]]:
        found: dict[StepClass, dict[StepClass, None]] = {step: {} for step in self.by_key.values()}
        for edge in self.edges:
            found[edge.target][edge.source] = None
        return {step: tuple(sources) for step, sources in found.items()}

    @cached_property
    def _successors(self) -> dict[StepClass, tuple[StepClass, ...]]:
        found: dict[StepClass, dict[StepClass, None]] = {step: {} for step in self.by_key.values()}
        for edge in self.edges:
            found[edge.source][edge.target] = None
        return {step: tuple(targets) for step, targets in found.items()}

    @cached_property
    def _rank(self) -> dict[str, int]:
        return {step.key: rank for rank, step in enumerate(self.topological_order)}

    @cached_property
    def _ancestors(self) -> dict[StepClass, tuple[str, ...]]:
        found: dict[StepClass, set[str]] = {}
        for step in self.topological_order:
            mine: set[str] = set()
            for source in self._predecessors[step]:
                mine |= found[source]
                mine.add(source.key)
            found[step] = mine
        return {step: tuple(sorted(keys, key=self._rank.__getitem__)) for step, keys in found.items()}

    @cached_property
    def _beside(self) -> dict[str, int]:
        after = dict.fromkeys(self.by_key, 0)
        for keys in self._ancestors.values():
            for key in keys:
                after[key] += 1
        others = len(self.by_key) - 1
        return {step.key: others - len(keys) - after[step.key] for step, keys in self._ancestors.items()}

    def predecessors(self, step: StepClass) -> tuple[StepClass, ...]:
        """The steps that have an edge into ``step``; ``KeyError`` for a step that is not in the graph."""
        return self._predecessors[step]

    def successors(self, step: StepClass) -> tuple[StepClass, ...]:
        """The steps that ``step`` has an edge to."""
        return self._successors[step]

    def ancestors(self, step: StepClass) -> tuple[str, ...]:
        """The keys of all steps that can come before ``step``, in topological order."""
        return self._ancestors[step]

    def beside(self, step: StepClass) -> int:
        """How many steps come neither before nor after ``step``: whether they have ended when it begins is chance."""
        return self._beside[step.key]

    def configs(self, step: StepClass) -> tuple[StepConfig, ...]:
        """The configs that the definition gives ``step`` wherever it is a target; None among them for a bare one."""
        targets = [*self.initials, *(target for targets in self.table.values() for target in targets)]
        return tuple(target.config for target in targets if target.step is step)

    def rank(self, key: str) -> int:
        """The place of a step in ``topological_order``."""
        return self._rank[key]
