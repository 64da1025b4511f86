"""The port of a runner to the driver: prepares messages, sends them, revokes them, and says where they go."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hephaestus_celery.runners.messages import NO_HEADERS, Message
from hephaestus_celery.storage.starts import PreparedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstMessages:
    """The first messages of a run that is about to be stored, and the ``headers`` that all of its messages repeat.

    ``prepared`` has what :meth:`Dispatcher.prepare` would give for each message; it may be left out if that is None for all.
    """

    messages: Sequence[Message]
    headers: Mapping[str, Any] = field(default_factory=lambda: NO_HEADERS)
    prepared: Sequence[PreparedMessage | None] = ()


class Dispatcher(Protocol):
    """Sends messages to workers, and says where they go."""

    @property
    def ends_attempts(self) -> bool:
        """Whether the runner interrupts a step that exceeds its time limit; otherwise the store takes the attempt away."""
        ...

    def dispatch(self, messages: Sequence[Message]) -> None:
        """Send messages. One that can't be sent is not an error: the store has it sent again."""
        ...

    def start_messages(self, runs: Sequence[Sequence[Message]]) -> Sequence[FirstMessages | Exception]:
        """The first messages of runs that are about to be stored, given for each run.

        Called where the runs are started, in the caller's context. What the application raises for a run stands in its place.
        """
        ...

    def prepare(self, message: Message, *, parent: str | None) -> PreparedMessage | None:
        """Prepare a message for a store that is the broker too, and sends it in a script; None if that is not possible.

        ``parent`` is the id of the task that causes it.
        """
        ...

    @property
    def lanes_are_fixed(self) -> bool:
        """Whether all messages of a step of a workflow go to one lane."""
        ...

    def lane(self, message: Message) -> str | None:
        """Where a message goes, see :mod:`hephaestus_celery.core.execution.lanes`; None where that can't be known."""
        ...

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Keep workers from starting these tasks, which are not wanted any more; best effort."""
        ...

    def interrupt(self, holders: Mapping[str, str]) -> Collection[str]:
        """Interrupt these tasks, each on the worker that is named; returns those that were interrupted."""
        ...
