"""Messages: what they say, and what a worker must know of a step before it claims it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hephaestus_celery.core.commands import DispatchStep
from hephaestus_celery.core.identity import is_run_id
from hephaestus_celery.core.registry import WORKFLOWS
from hephaestus_celery.core.retry import seconds
from hephaestus_celery.core.step import is_name
from hephaestus_celery.runners.base import Message

LIMIT_MARGIN = 2.0
"""Seconds beyond a step's time limit after which the store takes the attempt away from a pool that could not end it."""

WIDE = 128
"""A workflow of more steps than this hands a step what lies in its past, and not all that is known of the run."""


def messages(name: str, version: int, run_id: str, dispatches: Sequence[DispatchStep]) -> list[Message]:
    """The messages for steps of a run of the workflow with this name and version."""
    definition = WORKFLOWS.find(name, version)
    known = {} if definition is None else definition.graph.by_key
    return [
        Message(
            run_id=run_id,
            workflow=name,
            step=dispatch.step,
            attempt=dispatch.attempt,
            token=dispatch.token,
            queue=known[dispatch.step].queue if dispatch.step in known else None,
            priority=known[dispatch.step].priority if dispatch.step in known else None,
        )
        for dispatch in dispatches
    ]


def limit_of(workflow: str, versions: Sequence[int], step: str) -> int | None:
    """Microseconds until the store takes an attempt away; the process itself, where its pool can, ends it sooner."""
    definition = WORKFLOWS.find(workflow, versions[-1]) if versions else None
    step_class = definition and definition.graph.by_key.get(step)
    if step_class is None or step_class.time_limit is None:
        return None
    return int((seconds(step_class.time_limit, name="time_limit") + LIMIT_MARGIN) * 1e6)


def parse(args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[str, str, int, int] | None:
    """What a message carries: run id, step key, attempt, token; None for anything that is no message of ours."""
    match (tuple(args), dict(kwargs)):
        case ((str() as run_id, str() as step, int() as attempt, int() as token), {**rest}) if not rest:
            known = is_run_id(run_id) and is_name(step) and attempt > 0 and token > 0
            return (run_id, step, attempt, token) if known else None
        case _:
            return None


def past_of(workflow: str, versions: Sequence[int], step: str) -> Sequence[str] | None:
    """The steps whose results a claim asks for; None for all.

    Only where the run can be on one version, a wide one, is the step's past alone asked for. A step with a computed
    transition gets all.
    """
    if len(versions) != 1:
        return None
    definition = WORKFLOWS.find(workflow, versions[0])
    if definition is None or len(definition.graph.by_key) <= WIDE:
        return None
    step_class = definition.graph.by_key.get(step)
    if step_class is None or any(source is step_class for source, _ in definition.graph.dynamic):
        return None
    return definition.graph.ancestors(step_class)
