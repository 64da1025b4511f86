"""What this process knows about a step: versions, predecessors and time limit, by its key, and how many attempts it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.execution.limits import LOSSES
from hephaestus_celery.core.values.retry import RetryPolicy, seconds

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.graph import StepClass
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

LIMIT_MARGIN = 2.0
"""Seconds beyond a step's time limit that a process gets to end the attempt itself, where its pool interrupts it."""


def versions_with(workflow: str, step: str) -> list[int]:
    """The versions of a workflow that this process knows, and that have this step."""
    known = {version: WORKFLOWS.find(workflow, version) for version in WORKFLOWS.versions(workflow)}
    return [version for version, found in known.items() if found is not None and step in found.graph.by_key]


def predecessors_of(workflow: str, versions: Sequence[int], step: str) -> Sequence[str]:
    """The steps that lead to this one in any of the versions: it most likely reads their results."""
    found: dict[str, None] = {}
    for version in versions:
        definition = WORKFLOWS.find(workflow, version)
        if definition is not None and step in definition.graph.by_key:
            found.update((source.key, None) for source in definition.graph.predecessors(definition.graph.by_key[step]))
    return list(found)


def limit_of(workflow: str, versions: Sequence[int], step: str, *, margin: float) -> int | None:
    """Microseconds until the store takes an attempt away: ``margin`` seconds after its time limit.

    The version of the run is not known before the claim, so the longest limit counts.
    """
    found = (WORKFLOWS.find(workflow, version) for version in versions)
    steps = [definition.graph.by_key.get(step) for definition in found if definition is not None]
    limits = [limit(known) for known in steps if known is not None]
    if not limits or None in limits:
        return None
    return int((max(value for value in limits if value is not None) + margin) * 1e6)


def most_attempts(workflow: type[WorkflowDefinition], step: StepClass, default: RetryPolicy) -> int:
    """How many attempts a step has at most; ``default`` is the policy of the application.

    ``Done`` has enough of them for its worker to be lost as often as one that applies an event: what is tried again there is
    to compute the result of the run.
    """
    most = workflow.retry_policy(step, default).max_attempts
    return max(most, LOSSES + 1) if step is Done and workflow.gives_result else most


def limit(step: StepClass) -> float | None:
    """The time limit of a step in seconds."""
    return None if step.time_limit is None else seconds(step.time_limit, name="time_limit")
