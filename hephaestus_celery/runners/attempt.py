"""What passes between a runner and the driver: who works, what was claimed, what it came to, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.step import StepConfig
from hephaestus_celery.runners import events
from hephaestus_celery.runners.events import Events, EventSource
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.step_result import StepResult
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.claims import Claim, Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Who executes: ``fields`` go into every event emitted here.

    ``stop_exceptions`` are its ways to say that a step must stop, ``reserved_exceptions`` exceptions that tell it something of their own: what a
    step raises is never passed on to it as one of these.
    """

    hostname: str | None = None
    task_id: str | None = None
    stop_exceptions: tuple[type[BaseException], ...] = ()
    reserved_exceptions: tuple[type[BaseException], ...] = ()
    is_interruption: Callable[[BaseException], bool] | None = None
    """Whether an exception is one that the runner has put into what was being executed."""
    time_limit: float | None = None
    """Seconds after which the runner does so, None where it does not."""

    def was_interrupted_early(self, error: object, *, seconds: float) -> bool:
        """Whether an attempt that began so many seconds ago was interrupted although its time was not over."""
        if self.is_interruption is None or not issubclass(type(error), BaseException):
            return False
        in_time = self.time_limit is None or seconds < self.time_limit
        return in_time and self.is_interruption(cast("BaseException", error))

    @property
    def fields(self) -> dict[str, Any]:
        """``hostname`` and ``task_id``, where there are such."""
        found = {"hostname": self.hostname, "task_id": self.task_id}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAttempt:
    """A claimed attempt, or a delivered event to be applied. ``began``: when it was asked for, on the monotonic clock."""

    source: EventSource
    claim: Claim
    fence: str
    worker: Worker
    began: int

    @property
    def lease(self) -> Lease:
        """What is to be kept while the attempt lasts."""
        return Lease(run_id=self.source.instance.run_id, step=self.source.step.key, fence=self.fence)

    def config(self) -> StepConfig:
        """The config of the step as it was given; raises what the step makes of one that it can't restore."""
        stored = self.claim.run.configs.get(self.source.step.key)
        return None if stored is None else self.source.step.restored_config(codec.decode(stored))

    @property
    def launches_done(self) -> bool:
        """The workflow begins with ``Done``: there is nothing to execute."""
        return self.source.step is Done

    def emit_start(self) -> None:
        """Emit what the claim has committed: the start of the run, if this is its first, and of the attempt."""
        if self.claim.first:
            events.emit([partial(events.run_began, self.source, self.claim)])
        if self.claim.resume is None and not self.launches_done:
            events.emit([partial(events.attempt_began, self.source, self.claim)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What a step came to, and how many nanoseconds it took."""

    result: StepResult
    duration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a attempt. ``label`` is a word for the log.

    ``error`` is set when the attempt failed, ``retry_in`` (seconds) when another is due.
    """

    label: str
    events: Events = ()
    messages: Sequence[Message] = ()
    error: Exception | None = None
    retry_in: float | None = None

    def emit(self) -> None:
        """Emit the events of what was committed."""
        events.emit(self.events)
