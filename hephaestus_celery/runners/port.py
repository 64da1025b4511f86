"""The port: what a runtime asks of a runner, and the message that a runner carries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from hephaestus_celery.storage.port import PreparedMessage

if TYPE_CHECKING:
    from hephaestus_celery.runners.driver import Driver

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


def _brief(key: str) -> str:
    """A step's key where it is short, else its first bytes and a hash: longer than any key that stands for itself."""
    data = key.encode()
    if len(data) <= _BRIEF:
        return key
    return f"{data[:_BRIEF].decode(errors='ignore')}~{hashlib.blake2b(data, digest_size=16).hexdigest()}"


class Runner(Protocol):
    """Executes steps, here or elsewhere."""

    @property
    def ends_attempts(self) -> bool:
        """Whether this process is told when an attempt is over its time limit; else the store takes the attempt away."""
        ...

    def bind(self, driver: Callable[[], Driver]) -> None:
        """Get the driver of the runtime; it is made when it is first asked for. Called once, before all else."""
        ...

    def dispatch(self, messages: Sequence[Message]) -> None:
        """Send messages. One that can't be sent is not an error: the store knows what is to be done."""
        ...

    def start_messages(self, messages: Sequence[Message]) -> tuple[Sequence[Message], Mapping[str, Any]]:
        """The first messages of a run that is about to be stored, and the headers that all of its messages are to repeat.

        Called where the run is started, in the surroundings of who starts it; raises what the application raises there.
        """
        ...

    def prepare(self, message: Message, *, parent: str | None) -> PreparedMessage | None:
        """The message for a store that is the broker too, to be sent with what makes it due; None if it can't be.

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
        """Tell workers that nobody waits for these tasks, so that they don't begin with them; best effort."""
        ...

    def interrupt(self, holders: Mapping[str, str]) -> Collection[str]:
        """Interrupt what these tasks execute, each on the worker that is named; gives those that were interrupted."""
        ...

    def flush(self, run_id: str) -> None:
        """Return once the events of what this process has committed of a run are told."""
        ...

    def close(self) -> None:
        """Let go of everything; what is being executed in this process ends first."""
        ...
