"""What a runner and a driver pass to each other: the worker, the attempt that it holds, and what was executed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import StepClass
from hephaestus_celery.core.definition.step import StepConfig
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.runners import events, step_events
from hephaestus_celery.runners.events import EventSource
from hephaestus_celery.runners.step_result import StepResult
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.claims import Attempt, Claim
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.telemetry.emitter import Emitter
from hephaestus_celery.telemetry.event_dispatcher import has_any_handlers

logger = logging.getLogger("hephaestus_celery")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The worker that executes an attempt, or the thread of this process that does.

    ``stop_exceptions`` are those by which its pool interrupts a step. ``reserved_exceptions`` have a meaning for the runner,
    so an exception of a step never reaches the runner as one of these.
    """

    hostname: str | None = None
    """The name of the Celery worker; None on threads of this process."""
    task_id: str | None = None
    """The id of the Celery task; None on threads of this process."""
    stop_exceptions: tuple[type[BaseException], ...] = ()
    reserved_exceptions: tuple[type[BaseException], ...] = ()
    is_interruption: Callable[[BaseException], bool] | None = None
    """Whether the runner has raised this exception in the step, to interrupt it."""
    time_limit: float | None = None
    """Seconds after which the runner interrupts a step; None if it does not."""

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
    """An attempt that this process holds: claimed for a message, or taken over from the worker that lost it.

    It may have a delivered event, which this process applies. Its lease is renewed while it lasts. ``began`` is the time of
    the claim, on the monotonic clock.
    """

    source: EventSource
    claim: Claim
    worker: Worker
    """The worker that executes the attempt."""
    began: int

    @property
    def held(self) -> Attempt:
        """What the store has granted: activation, number, fence and lease."""
        return self.claim.attempt

    @property
    def instance(self) -> Instance:
        """The run, as it was at the claim."""
        return self.source.instance

    @property
    def step(self) -> StepClass:
        """The class of the step that is executed; ``step.key`` is its key."""
        return self.source.step

    @property
    def state(self) -> StepState:
        """The state of the step, as it was at the claim."""
        return self.claim.run.steps[str(self.claim.attempt.activation)]

    @property
    def number(self) -> int:
        """The number of the attempt, from 1."""
        return self.claim.attempt.number

    @property
    def max_attempts(self) -> int:
        """How many attempts the step has at most."""
        return self.claim.attempt.max_attempts

    @property
    def is_left_over(self) -> bool:
        """Whether all attempts of the step have failed before this one, which is for the transition that takes the failure."""
        return self.number > self.max_attempts

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers that every message of the run carries: those of the application, and those of ``on_start`` hooks."""
        return self.source.instance.message_headers

    @property
    def activation(self) -> Activation:
        """The activation of the step: a run may execute a step more than once."""
        return self.claim.attempt.activation

    @property
    def fence(self) -> str:
        """The token that every commit of this attempt needs."""
        return self.claim.attempt.fence

    def config(self) -> StepConfig:
        """The config of the step as it was given; raises what the step raises if it can't restore it."""
        stored = self.claim.run.configs.get(self.source.step.key)
        return None if stored is None else self.source.step.restored_config(codec.decode(stored))

    @property
    def launches_done(self) -> bool:
        """Whether the workflow begins with ``Done``: then there is nothing to execute."""
        return self.source.step is Done

    def entry(self, *, kind: str, event: str | None = None, reason: str | None = None, is_round: bool = False) -> str:
        """The history entry of the attempt's result, as JSON text; ``is_round``: it ends a round of an ``Again``."""
        return encode_entry(
            kind=kind,
            step=self.source.step.key,
            attempt=self.number,
            event=event,
            reason=reason,
            # The worker that lost the attempt, even if another has noticed that.
            worker=self.state.worker or self.worker.hostname,
            task_id=self.held.holder,
            by=None if self.claim.resume is None else self.claim.resume.by,
            round=self.state.round if is_round or self.state.round > 1 else None,
            compensates=self.state.compensates,
            run_id=self.source.instance.run_id,
        )

    def done_entry(self, *, reason: str | None = None) -> str:
        """The entry of ``Done``, where the run ends by this attempt; ``reason``: why its result could not be computed."""
        return encode_entry(
            kind="attempt",
            step=Done.key,
            attempt=1,
            event="done" if reason is None else None,
            reason=reason,
            worker=self.worker.hostname,
            task_id=self.held.holder,
            run_id=self.source.instance.run_id,
        )

    def emit_start(self, emitter: Emitter) -> None:
        """Emit what the claim has committed: the start of the run, if this is its first, and of the attempt."""
        if not has_any_handlers():
            return
        try:
            found = step_events.claimed(self.source, self.claim)
        except Exception:
            logger.exception("[%s] the start of step %s can't be emitted", self.instance.id, self.step.key)
        else:
            events.emit(found, emitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What a step came to, and how many nanoseconds it took."""

    result: StepResult
    duration: int
