"""Events whose data has a type: it is validated where they are sent, if this process knows the workflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hephaestus_celery.client.expected_events import declares
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.resolve import read_run
from hephaestus_celery.core.definition.graph import StepClass
from hephaestus_celery.core.definition.registry import WORKFLOWS, find_definition
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.data_types import accepted
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus


async def checked_data(
    means: Means,
    id: str,
    event: str,
    data: object,
    *,
    step: str | None,
    workflow: type[WorkflowDefinition] | None,
    keep_early: bool,
) -> dict[str, Any]:
    """What is stored of the data of an event; ``DataError`` if it does not fit the type of the step that will take it.

    The run is read only where a step of this process that has a type takes events of this name. Where it is not clear which step
    will take the event, and in a process that does not know the workflow, the worker that applies it validates it.
    """
    taker = None
    if any(event in known.graph.typed_events for known in WORKFLOWS.all()):
        instance = await read_run(means, id, workflow=workflow)
        taker = _taker(instance, event, step, keep_early=keep_early)
    if taker is None or (data is None and len(taker.events) > 1):
        return accepted(None, {} if data is None else data, "data")
    return accepted(taker.__data_type__, {} if data is None else data, "data")


def _taker(instance: Instance, event: str, step: str | None, *, keep_early: bool) -> StepClass | None:
    """The step that an event is for; one of them, if all that may take it have the same type and the same events."""
    definition = find_definition(instance)
    if definition is None or instance.status.final:
        return None
    by_key, states = definition.graph.by_key, instance.step_states
    waiting = [key for key, state in states.items() if state.waits and event in state.accepts]
    later = waiting or [
        key
        for key in by_key
        if declares(instance, key, event)
        and (keep_early if key not in states else states[key].status is StepStatus.ACTIVE)
    ]
    return _alike([by_key[key] for key in later if key in by_key and step in (None, key)])


def _alike(takers: Sequence[StepClass]) -> StepClass | None:
    kinds = {(taker.__data_type__, len(taker.events) > 1) for taker in takers}
    return takers[0] if len(kinds) == 1 else None
