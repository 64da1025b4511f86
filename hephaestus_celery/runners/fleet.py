"""The port of a runner to the scheduler: which workers hold which messages, and how many wait in a queue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.exceptions import HephaestusError
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.storage.due import Outstanding
from hephaestus_celery.storage.port import Storage


class BrokerAwayError(HephaestusError):
    """The broker is out of reach, so the length of its queues can't be known now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """The messages that a living worker has taken from ``queues`` and not started yet.

    ``messages`` are named by :func:`attempt_of`; of the tasks in ``many`` it holds more than it lists. ``counts`` says how
    many there are of each lane. ``rates`` are the rate limits that it applies to tasks of steps. ``workflows`` are those that
    it knows, with their versions; None where a worker of before this field reports.
    """

    queues: frozenset[str] = frozenset()
    messages: frozenset[str] = frozenset()
    many: frozenset[str] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    worker: str | None = None
    rates: Mapping[str, str] = field(default_factory=dict[str, str])
    workflows: Mapping[str, Sequence[int]] | None = None

    def may_hold(self, message: Outstanding) -> bool:
        """Whether the message may be among them, or an older one for the same attempt."""
        task = f"{message.name}.{message.dispatch.activation.step}"
        return task in self.many or attempt_of(_hint(message).task_id) in self.messages

    def encode(self) -> str:
        """As JSON text."""
        values = {"queues": sorted(self.queues), "messages": sorted(self.messages), "many": sorted(self.many)}
        about = {"worker": self.worker, "rates": dict(self.rates), "workflows": self.workflows}
        return json.dumps({**values, "counts": dict(self.counts), **about}, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Holdings:
        """Decode the text of :meth:`encode`."""
        found = json.loads(text)
        return cls(
            queues=frozenset(found["queues"]),
            messages=frozenset(found["messages"]),
            many=frozenset(found["many"]),
            counts=found["counts"],
            worker=found.get("worker"),
            rates=found.get("rates", {}),
            workflows=found.get("workflows"),
        )


class Fleet(Protocol):
    """The workers of an application, and their broker."""

    def holdings(self, storage: Storage) -> Sequence[Holdings]:
        """What each living worker holds."""
        ...

    def length(self, lane: Lane) -> int | None:
        """How many messages wait in a lane; None where that can't be known. ``BrokerAwayError`` when it can't be now."""
        ...

    def counted(self, lane: Lane) -> Sequence[Lane]:
        """The lanes whose messages ``length`` counts: this one, and others that it can't distinguish from it."""
        ...


class UnknownFleet:
    """A fleet that reports nothing, so every late message counts as lost."""

    def holdings(self, storage: Storage) -> Sequence[Holdings]:
        """No worker reports anything."""
        return ()

    def length(self, lane: Lane) -> int | None:
        """It can't be known."""
        return None

    def counted(self, lane: Lane) -> Sequence[Lane]:
        """There is no count."""
        return [lane]


def attempt_of(task_id: str) -> str:
    """The part of a task's id that all messages for one attempt share: any of them may be claimed."""
    return task_id.rpartition(".")[0]


def message_of(message: Outstanding) -> str:
    """The id of the task of a message that is late."""
    return _hint(message).task_id


def _hint(message: Outstanding) -> Message:
    dispatch = message.dispatch
    return Message(
        run_id=message.run_id,
        workflow=message.name,
        activation=dispatch.activation.in_round(dispatch.round),
        attempt=dispatch.attempt,
        token=dispatch.token,
    )
