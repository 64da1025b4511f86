"""Values of the calls of a driven storage: a graph by its edges, the header of a run, an attempt, durations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import Graph, Target
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.claims import Attempt
from hephaestus_celery.storage.durations import Durations

DURATIONS = Durations(lease=30_000_000, dispatch_timeout=30_000_000, retention=7 * 24 * 3_600_000_000)
"""The durations of tests by default: half a minute for leases and messages, a week for ended runs."""


def held(run_id: str, step: str, *, fence: str, lease: int = DURATIONS.lease) -> Attempt:
    """An attempt, with the fields that a renewal needs."""
    return Attempt(
        run_id=run_id,
        activation=Activation.parse(step),
        number=1,
        max_attempts=5,
        fence=fence,
        holder=None,
        lease=lease,
    )


def graph_of(
    edges: Mapping[tuple[str, str], Any],
    *,
    joins: Mapping[str, int] | None = None,
    compensations: Mapping[str, str] | None = None,
) -> Graph:
    """A graph from ``{(source, event): [target or (target, config), ...]}``; it begins with steps that nothing leads to.

    ``joins`` has the numbers of counted joins, ``compensations`` the step that undoes another, by its key.
    """
    steps: dict[str, type[Step[Any]]] = {"done": Done}

    def target(given: Any) -> Target:
        key, config = given if isinstance(given, tuple) else (given, None)
        return Target(steps.setdefault(key, Step.named(key)), config)

    table = {(target(source).step, event): tuple(map(target, targets)) for (source, event), targets in edges.items()}
    reached = {target.step for targets in table.values() for target in targets}
    initials = list(dict.fromkeys(source for source, _ in table if source not in reached)) or [Done]
    counted = {steps[key]: number for key, number in (joins or {}).items()}
    undone = {steps[key]: Step.named(other) for key, other in (compensations or {}).items()}
    return Graph(initials=tuple(map(Target, initials)), table=table, joins=counted, compensations=undone)


def header(run_id: str, instance_id: str) -> str:
    """The unchanging part of a run of no defined workflow."""
    return json.dumps(
        {
            "schema": 1,
            "id": instance_id,
            "run_id": run_id,
            "name": "shop.Order",
            "family": "shop.Order",
            "version": 1,
            "tags": [],
            "metadata": {},
            "telemetry": {},
        }
    )
