"""The message of a step: what it holds, how it is made, and how a worker reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.inputs import is_count
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.names import is_key
from hephaestus_celery.runners.known_steps import limit

NO_HEADERS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A hint that a step wants a worker. A lost, late or repeated message costs only time.

    ``workflow`` is a name; ``activation`` names the round too; ``token`` counts the messages that were sent for the step. ``queue``, ``priority`` and
    ``time_limit`` (seconds) are those of the step, if the sender knows it. ``headers`` are those of the run, whoever sends
    the message. ``prepared`` is the result of :meth:`Runner.prepare`, for that runner alone.
    """

    run_id: str
    workflow: str
    activation: Activation
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
        return f"{self.workflow}.{self.activation.step}"

    @property
    def task_id(self) -> str:
        """The name of this message, never used for another one; at most 255 bytes, as AMQP requires."""
        return self.activation.task_id(self.run_id, attempt=self.attempt, token=self.token)

    @property
    def dispatch(self) -> DispatchStep:
        """What it was made for."""
        own = self.activation
        return DispatchStep(own.in_round(1), self.attempt, self.token, own.generation)

    @property
    def step(self) -> str:
        """The key of its step."""
        return self.activation.step


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
    steps = [known.get(dispatch.activation.step) for dispatch in dispatches]
    return [
        Message(
            run_id=run_id,
            workflow=name,
            activation=dispatch.activation.in_round(dispatch.round),
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


def parse(args: object, kwargs: object) -> tuple[str, Activation, int, int] | None:
    """Read a message: run id, activation, attempt, token; None if it is none of ours."""
    match args:
        case (str() as run_id, str() as text, int() as attempt, int() as token) if not kwargs:
            activation = _activation(text)
            known = is_run_id(run_id) and is_count(attempt) and is_count(token)
            return (run_id, activation, attempt, token) if known and activation is not None else None
        case _:
            return None


def _activation(text: str) -> Activation | None:
    try:
        activation = Activation.parse(text)
    except ValueError:
        return None
    return activation if is_key(activation.step) else None
