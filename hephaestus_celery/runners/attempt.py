"""What passes between a runner and the driver: who works, what was claimed, what was answered, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.step import StepConfig
from hephaestus_celery.runners import events
from hephaestus_celery.runners.events import Scene, Story
from hephaestus_celery.runners.port import Message
from hephaestus_celery.runners.step_result import Answer
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.port import Claim, Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Who executes: ``fields`` go into every event told here.

    ``exits`` are its ways to say that a step must stop, ``signs`` exceptions that tell it something of their own: what a
    step raises is never passed on to it as one of these.
    """

    hostname: str | None = None
    task_id: str | None = None
    exits: tuple[type[BaseException], ...] = ()
    signs: tuple[type[BaseException], ...] = ()
    interrupts: Callable[[BaseException], bool] | None = None
    """Whether an exception is one that the runner has put into what was being executed."""
    limit: float | None = None
    """Seconds after which the runner does so, None where it does not."""

    def was_struck(self, error: object, *, seconds: float) -> bool:
        """Whether an attempt that began so many seconds ago was interrupted although its time was not over."""
        if self.interrupts is None or not issubclass(type(error), BaseException):
            return False
        in_time = self.limit is None or seconds < self.limit
        return in_time and self.interrupts(cast("BaseException", error))

    @property
    def fields(self) -> dict[str, Any]:
        """``hostname`` and ``task_id``, where there are such."""
        found = {"hostname": self.hostname, "task_id": self.task_id}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A claimed attempt, or a delivered event to be applied. ``began``: when it was asked for, on the monotonic clock."""

    scene: Scene
    claim: Claim
    fence: str
    worker: Worker
    began: int

    @property
    def lease(self) -> Lease:
        """What is to be kept while the attempt lasts."""
        return Lease(run_id=self.scene.instance.run_id, step=self.scene.step.key, fence=self.fence)

    def config(self) -> StepConfig:
        """The config of the step as it was given; raises what the step makes of one that it can't restore."""
        stored = self.claim.run.configs.get(self.scene.step.key)
        return None if stored is None else self.scene.step.restored_config(codec.decode(stored))

    @property
    def launches_done(self) -> bool:
        """The workflow begins with ``Done``: there is nothing to execute."""
        return self.scene.step is Done

    def announce(self) -> None:
        """Tell what the claim has committed: the start of the run, if this is its first, and of the attempt."""
        if self.claim.first:
            events.tell([partial(events.run_began, self.scene, self.claim)])
        if self.claim.resume is None and not self.launches_done:
            events.tell([partial(events.attempt_began, self.scene, self.claim)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What a step answered, and how many nanoseconds it took."""

    answer: Answer
    duration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a job. ``label`` is a word for the log.

    ``error`` is set when the attempt failed, ``retry_in`` (seconds) when another is due.
    """

    label: str
    story: Story = field(default=())
    messages: Sequence[Message] = ()
    error: Exception | None = None
    retry_in: float | None = None

    def tell(self) -> None:
        """Emit the events of what was committed."""
        events.tell(self.story)
