"""Executes a step: calls ``execute``, with its hooks, its time limit, and the interruptions that reach it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from hephaestus_celery.clock import Clock
from hephaestus_celery.core.definition.step import Step, StepConfig
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.step_state import PendingResume
from hephaestus_celery.exceptions import DataError, StorageError
from hephaestus_celery.logs import StepContext, current_step
from hephaestus_celery.runners import event_loop as loops
from hephaestus_celery.runners.attempt import Executed, HeldAttempt
from hephaestus_celery.runners.cancellation_check import CancellationCheck
from hephaestus_celery.runners.hooks import Hooks
from hephaestus_celery.runners.known_steps import limit
from hephaestus_celery.runners.message_dispatcher import Dispatcher
from hephaestus_celery.runners.step_exceptions import Failed, failed, lost, shown
from hephaestus_celery.runners.step_result import Completed, Discarded, StepResult, check, delivered
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.port import Storage

if TYPE_CHECKING:
    from hephaestus_celery.config import Settings

logger = logging.getLogger("hephaestus_celery")

NOTICE_SECONDS = 0.5
"""How long an attempt that was interrupted within its time waits before it asks the store. A revocation is recorded only a
moment after the interruption."""

MOST_INTERRUPTIONS = 3
"""How often an attempt, or a route, runs again after an interruption that was meant for another attempt. If the
interruption comes each time, it is meant for this attempt, or could go on for ever."""

_PAUSE = 0.2  # seconds between two questions to a store that is away


class Executor:
    """Executes steps, and asks its storage whether they are still wanted."""

    def __init__(
        self,
        storage: Storage,
        settings: Settings,
        dispatcher: Dispatcher,
        *,
        hooks: Hooks,
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._lease_ns = int(settings.lease.total_seconds() * 1e9)
        self._max_payload = settings.max_payload
        self._dispatcher = dispatcher
        self._hooks = hooks
        self._clock = clock

    def execute(self, attempt: HeldAttempt) -> Executed:
        """Execute the step of an attempt; a delivered event is its result already. Never raises.

        After an interruption that was meant for another attempt it runs again, :data:`MOST_INTERRUPTIONS` times at most.
        """
        for interruptions in count():
            began = self._clock.monotonic_ns()
            try:
                result = self._result(attempt, began)
            except BaseException as error:  # noqa: BLE001 - the runner's way to stop a step may strike anywhere
                result = failed_in(attempt, error)
            duration = max(0, self._clock.monotonic_ns() - began)
            try:
                again = (
                    isinstance(result, Failed)
                    and interruptions < MOST_INTERRUPTIONS
                    and self.was_meant_for_another(attempt, result.reason)
                )
                if not again:
                    return Executed(result=result, duration=duration)
            except attempt.worker.stop_exceptions:
                pass  # and once more
        raise AssertionError  # not reached: the loop has no end

    def interrupted(self, attempt: HeldAttempt, error: BaseException, *, earlier: int) -> Executed | None:
        """The result of an attempt that was interrupted beside the step's body; None if another attempt was meant.

        ``earlier`` is how often that has happened before.
        """
        if earlier < MOST_INTERRUPTIONS and self.was_meant_for_another(attempt, error):
            return None
        return Executed(result=failed_in(attempt, error), duration=0)

    def was_meant_for_another(self, attempt: HeldAttempt, error: object) -> bool:
        """Whether an interruption was meant for another attempt, which this process had before.

        This is the case if this attempt is within its time, and is still wanted.
        """
        seconds = (self._clock.monotonic_ns() - attempt.began) / 1e9
        if not attempt.worker.was_interrupted_early(error, seconds=seconds):
            return False
        deadline = self._clock.monotonic_ns() + self._lease_ns
        wanted = CancellationCheck(self._storage, attempt.held, clock=self._clock)
        for pause in (0.0, NOTICE_SECONDS):
            self._clock.sleep(pause)
            if not self._is_wanted(wanted, deadline):
                return False
        logger.warning(
            "[%s] step %s was interrupted by what was meant for another attempt, and runs again",
            attempt.instance.id,
            attempt.step.key,
        )
        return True

    def in_time(self, attempt: HeldAttempt, result: StepResult, *, since: int) -> StepResult:
        """The result of a step, or a failure if it took too long; ``since`` is when its time began."""
        if isinstance(result, Failed) and result.kind == "exit":
            return result
        allowed = limit(attempt.step)
        if allowed is None or self._clock.monotonic_ns() - since <= allowed * 1e9:
            return result
        # This holds for any result: the step may have caught the interruption, or run in a thread that can't be interrupted.
        return lost(f"step {attempt.step.key}: time limit exceeded")

    def _result(self, attempt: HeldAttempt, began: int) -> StepResult:
        if attempt.is_left_over:
            return lost(f"step {attempt.step.key}: its last attempt, {attempt.max_attempts}, was lost")
        if attempt.claim.resume is not None:
            return self._delivered(attempt, attempt.claim.resume)
        if attempt.launches_done:
            return Completed(event="done", result=None, metadata=None)
        executing = current_step.set(_step_context(attempt))
        try:
            result = self._hooks.run(attempt, lambda: self._call(attempt))
        finally:
            current_step.reset(executing)
        return self.in_time(attempt, result, since=attempt.began if self._dispatcher.ends_attempts else began)

    def _delivered(self, attempt: HeldAttempt, resume: PendingResume) -> StepResult:
        data = attempt.claim.data or "{}"
        if attempt.state.checks and resume.source == "external":
            try:
                return delivered(attempt.step, resume.event, data, limit=self._max_payload)
            except DataError as error:
                if isinstance(
                    error.__cause__, attempt.worker.stop_exceptions
                ):  # it struck while the data was validated
                    raise error.__cause__ from None
                return Discarded(event=resume.event, reason=shown(error))
        return Completed(event=resume.event, result=None if data == "{}" else data, metadata=None)

    def _call(self, attempt: HeldAttempt) -> StepResult:
        cancellation = CancellationCheck(self._storage, attempt.held, clock=self._clock)
        instance = attempt.source.instance
        return call(
            attempt.source.step,
            # A copy: changes that the step makes to it must not reach events and decisions.
            instance.apart(context=instance.context.apart(is_over=cancellation.is_cancelled, **_round(attempt))),
            attempt.config,
            limit=self._max_payload,
            seconds_left=limit(attempt.source.step),
            stop_exceptions=attempt.worker.stop_exceptions,
            reserved_exceptions=attempt.worker.reserved_exceptions,
        )

    def _is_wanted(self, check: CancellationCheck, deadline: int) -> bool:
        while True:
            try:
                return check.is_wanted()
            except StorageError:
                if self._clock.monotonic_ns() > deadline:
                    return False
                self._clock.sleep(_PAUSE)


def call(
    step: type[Step[Any]],
    instance: Instance,
    config: Callable[[], StepConfig],
    *,
    limit: int,
    seconds_left: float | None = None,
    stop_exceptions: tuple[type[BaseException], ...] = (),
    reserved_exceptions: tuple[type[BaseException], ...] = (),
) -> StepResult:
    """Call ``step.execute``. Never raises what the step raises, which is a failure instead.

    ``config`` gives the config of the step. ``limit`` is the most bytes of one value. ``seconds_left`` is the time after which
    an ``async def`` step is cancelled. The exceptions are the runner's: see
    :func:`~hephaestus_celery.runners.step_exceptions.failed`.
    """
    try:
        returned: object = step().execute(instance, config(), instance.context)
        if inspect.isawaitable(returned):
            returned = loops.run(returned, seconds=seconds_left)
    except BaseException as error:  # noqa: BLE001 - a step may raise anything, and all of it is a failed attempt
        return failed(error, stop_exceptions=stop_exceptions, reserved_exceptions=reserved_exceptions)
    try:
        return check(step, returned, limit=limit)
    except (TypeError, ValueError) as error:  # DataError too: no further attempt makes such a result valid
        if isinstance(error.__cause__, stop_exceptions):  # it struck while the result was validated
            return failed(error.__cause__, stop_exceptions=stop_exceptions, reserved_exceptions=reserved_exceptions)
        return replace(failed(error), retry=False)
    except BaseException as error:  # noqa: BLE001 - mappings of the user's own may raise anything too
        return failed(error, stop_exceptions=stop_exceptions, reserved_exceptions=reserved_exceptions)


def _step_context(attempt: HeldAttempt) -> StepContext:
    instance = attempt.instance
    return StepContext(
        instance_id=instance.id,
        run_id=instance.run_id,
        workflow=instance.workflow_name,
        step=attempt.step.key,
        attempt=attempt.number,
        headers=attempt.headers,
    )


def _round(attempt: HeldAttempt) -> dict[str, Any]:
    given = attempt.claim.run.round_states.get(str(attempt.activation))
    return {"round": attempt.state.round, "state": {} if given is None else codec.decode(given)}


def failed_in(attempt: HeldAttempt, error: BaseException) -> Failed:
    """An exception in an attempt, as the failure of it."""
    worker = attempt.worker
    return failed(error, stop_exceptions=worker.stop_exceptions, reserved_exceptions=worker.reserved_exceptions)
