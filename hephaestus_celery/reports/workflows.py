"""The workflows that this process defines, and how many runs of each are active."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.lifecycle import LIVE
from hephaestus_celery.storage.redis.store import RedisStorage


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveCounts:
    """Active runs by stored name and version of their workflow: of ``total`` there was time to count ``looked_at``."""

    kinds: Counter[tuple[str, int]]
    looked_at: int
    total: int


def known_workflows() -> list[type[WorkflowDefinition]]:
    """The workflows of this process, by name; an umbrella stands for its versions."""
    umbrellas = {id(version): each for each in _below(WorkflowDefinition) for version in each.versions.values()}
    known = {id(each): each for each in (umbrellas.get(id(each), each) for each in WORKFLOWS.all())}
    return sorted(known.values(), key=lambda each: (each.name, each.version))


def _below(parent: type[WorkflowDefinition]) -> Iterator[type[WorkflowDefinition]]:
    # The classes that a failed definition has left behind have no family.
    for child in parent.__subclasses__():
        if "family" in child.__dict__:
            yield child
        yield from _below(child)


def count_active(runtime: Hephaestus) -> ActiveCounts:
    """Active runs by workflow and version: counted in the store where that is Redis, else run by run."""
    active: Counter[tuple[str, int]] = Counter()
    storage = runtime.storage
    if isinstance(storage, RedisStorage):
        counted = storage.examination().runs(LIVE)
        for (name, version, _status), count in counted.kinds.items():
            active[name, version] += count
        return ActiveCounts(kinds=active, looked_at=counted.looked_at, total=counted.total)
    cursor = None
    while True:
        page = runtime.list(status_in=LIVE, cursor=cursor)
        active.update((each.workflow_name, each.workflow_version) for each in page)
        cursor = page.next_cursor
        if cursor is None:
            return ActiveCounts(kinds=active, looked_at=active.total(), total=active.total())


def step_keys(version: type[WorkflowDefinition]) -> list[str]:
    """The keys of a workflow's steps, without its compensations."""
    graph = version.graph
    return [key for key, step in graph.by_key.items() if step not in graph.compensating]


def undone_by(graph: Graph) -> dict[str, str]:
    """The keys of the steps that have a compensation, each with the key of that."""
    return {step.key: compensation.key for step, compensation in graph.compensations.items()}
