"""Messages: what they carry, how they are made, and how one that came is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.step import is_key
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.inputs import is_count
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.runners.known_steps import limit

_BRIEF = 80  # bytes of a step's key in the id of a task

NO_HEADERS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A hint that a step wants a worker: lost, late or doubled, it changes nothing but the time that passes.

    ``workflow`` and ``step`` are its name and key; ``token`` counts the messages that were sent for the step. ``queue``,
    ``priority`` and ``time_limit`` (seconds) are the step's own, where the sender knows it. ``headers`` are the run's, which
    it carries whoever sends it; ``prepared`` is what :meth:`Runner.prepare` has made of it, for that runner alone.
    """

    run_id: str
    workflow: str
    step: str
    attempt: int
    token: int
    queue: str | None = None
    priority: int | None = None
    time_limit: float | None = None
    headers: Mapping[str, Any] = field(default_factory=lambda: NO_HEADERS)
    prepared: object = None

    @property
    def task_name(self) -> str:
        """How Celery names the step's task."""
        return f"{self.workflow}.{self.step}"

    @property
    def task_id(self) -> str:
        """Names this message, and no other, ever; at most 255 bytes, as AMQP wants it."""
        return f"{self.run_id}:{_brief(self.step)}:{self.attempt}.{self.token}"


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


def messages_of(instance: Instance, dispatches: Sequence[DispatchStep]) -> list[Message]:
    """The messages for steps of this run."""
    return messages(
        instance.workflow_name,
        instance.workflow_version,
        instance.run_id,
        dispatches,
        headers=instance.message_headers,
    )


def parse(args: object, kwargs: object) -> tuple[str, str, int, int] | None:
    """What a message carries: run id, step key, attempt, token; None for anything that is no message of ours."""
    match args:
        case (str() as run_id, str() as step, int() as attempt, int() as token) if not kwargs:
            known = is_run_id(run_id) and is_key(step) and is_count(attempt) and is_count(token)
            return (run_id, step, attempt, token) if known else None
        case _:
            return None


def _brief(key: str) -> str:
    """A step's key where it is short, else its first bytes and a hash: longer than any key that stands for itself."""
    data = key.encode()
    if len(data) <= _BRIEF:
        return key
    return f"{data[:_BRIEF].decode(errors='ignore')}~{hashlib.blake2b(data, digest_size=16).hexdigest()}"
