"""Messages: what they say, and what a worker must know of a step before it claims it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.step import is_key
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.inputs import is_count
from hephaestus_celery.core.values.retry import seconds
from hephaestus_celery.runners.port import NO_HEADERS, Message
from hephaestus_celery.storage.port import SCHEMA

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.graph import StepClass

LIMIT_MARGIN = 2.0
"""Seconds beyond a step's time limit that a process gets to end the attempt itself, where its pool tells it to."""


def messages(
    name: str,
    version: int,
    run_id: str,
    dispatches: Sequence[DispatchStep],
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
) -> list[Message]:
    """The messages for steps of a run of the workflow with this name and version; ``headers`` are the run's."""
    definition = WORKFLOWS.find(name, version)
    known = {} if definition is None else definition.graph.by_key
    steps = [known.get(dispatch.step) for dispatch in dispatches]
    return [
        Message(
            run_id=run_id,
            workflow=name,
            step=dispatch.step,
            attempt=dispatch.attempt,
            token=dispatch.token,
            queue=step and step.queue,
            priority=step and step.priority,
            time_limit=step and limit(step),
            headers=headers,
        )
        for dispatch, step in zip(dispatches, steps, strict=True)
    ]


def versions_with(workflow: str, step: str) -> list[int]:
    """The versions of a workflow that this process knows, those in which it has the step."""
    known = {version: WORKFLOWS.find(workflow, version) for version in WORKFLOWS.versions(workflow)}
    return [version for version, found in known.items() if found is not None and step in found.graph.by_key]


def left_to_newer(schema: str) -> str:
    """What a worker says, once, of runs that it can't read; ``schema`` is the ``detail`` of a ``NEWER_SCHEMA``."""
    return (
        f"there are runs that a newer hephaestus-celery has written (schema {schema}, this worker reads up to {SCHEMA}); "
        "their steps are left to workers of that. Upgrade this one"
    )


def left_to_others(detail: str, step: str) -> str:
    """What a worker says of a step that it leaves to others; ``detail`` is that of an ``UNKNOWN_VERSION``."""
    name, _, version = detail.partition(" version ")
    if version.isdecimal() and WORKFLOWS.find(name, int(version)) is not None:
        return (
            f"this worker's workflow {detail} has no step {step!r}, and a run of it is to execute that; it is left to "
            "workers that have the step. A changed workflow needs a new version: bring the step back, give the change a "
            "version of its own, or keep workers of the old deployment until its runs have ended"
        )
    return (
        f"this worker does not know workflow {detail}; its steps are left to workers that do. Deploy the code that "
        "defines it, or keep workers of the old deployment until its runs have ended"
    )


def limit_of(workflow: str, versions: Sequence[int], step: str, *, margin: float) -> int | None:
    """Microseconds until the store takes an attempt away: ``margin`` seconds after its time limit.

    Which of the versions a run is on shows only when it is claimed: the longest limit counts.
    """
    found = (WORKFLOWS.find(workflow, version) for version in versions)
    steps = [definition.graph.by_key.get(step) for definition in found if definition is not None]
    limits = [limit(known) for known in steps if known is not None]
    if not limits or None in limits:
        return None
    return int((max(value for value in limits if value is not None) + margin) * 1e6)


def limit(step: StepClass) -> float | None:
    """The time limit of a step in seconds."""
    return None if step.time_limit is None else seconds(step.time_limit, name="time_limit")


def parse(args: object, kwargs: object) -> tuple[str, str, int, int] | None:
    """What a message carries: run id, step key, attempt, token; None for anything that is no message of ours."""
    match args:
        case (str() as run_id, str() as step, int() as attempt, int() as token) if not kwargs:
            known = is_run_id(run_id) and is_key(step) and is_count(attempt) and is_count(token)
            return (run_id, step, attempt, token) if known else None
        case _:
            return None


def predecessors_of(workflow: str, versions: Sequence[int], step: str) -> Sequence[str]:
    """The steps from which an edge leads to this one, in any of the versions: it most likely looks at what they gave."""
    found: dict[str, None] = {}
    for version in versions:
        definition = WORKFLOWS.find(workflow, version)
        if definition is not None and step in definition.graph.by_key:
            found.update((source.key, None) for source in definition.graph.predecessors(definition.graph.by_key[step]))
    return list(found)
