"""The Celery task of a step: its body executes and commits; claiming and emitting happen in signal receivers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol, cast

from celery import Task
from celery.exceptions import Ignore, Reject, Retry

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.inputs import find_worker, is_task_id
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.after_commit import Outcome
from hephaestus_celery.runners.attempt import HeldAttempt, Worker
from hephaestus_celery.runners.celery.abandoned_tasks import TaskRecovery
from hephaestus_celery.runners.celery.lazy_tasks import LazyStrategy, LazyTracer
from hephaestus_celery.runners.celery.request_progress import Progress, progress_of
from hephaestus_celery.runners.celery.soft_limits import RESERVED_EXCEPTIONS, STOP_EXCEPTIONS, is_interrupt, soft_limit
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.messages import Message, parse
from hephaestus_celery.runners.refusal_log import RefusalLog
from hephaestus_celery.storage.claims import Refusal, Refused

logger = logging.getLogger("hephaestus_celery")

_CLAIM_AGAIN_SECONDS = 0.2


class TaskRunner(Protocol):
    """The part of a runner that a step's task uses."""

    @property
    def driver(self) -> Driver:
        """The driver of the application's runs."""
        ...

    @property
    def hostname(self) -> str | None:
        """The name of the worker that this process is, or belongs to; None in any other."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock of the runtime."""
        ...

    @property
    def chance(self) -> Chance:
        """The chance of the runtime."""
        ...

    @property
    def refusals(self) -> RefusalLog:
        """Logs why a message is dropped."""
        ...

    @property
    def recovery(self) -> TaskRecovery:
        """Recovers attempts whose task has ended without its body."""
        ...

    def dispatch(self, messages: Sequence[Message]) -> None:
        """Send messages; one that can't be sent is no error."""
        ...

    def lane_of(self, delivery: object) -> str | None:
        """The lane that a message came from, by its ``delivery_info``."""
        ...


class StepTask(Task):  # pyright: ignore[reportMissingTypeArgument] - generic in the stubs only
    """The task of one step of one workflow. Its message names run, step and attempt; everything else is in the store.

    It acknowledges late and keeps no result: the claim decides who executes, whatever the broker does. The application's
    own class of tasks is a base of this one. Only :meth:`run` is replaced, so Celery calls the hooks and the ``__call__`` of
    the application, and annotations may replace any of them.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = False
    acks_on_failure_or_timeout = True  # its name before Celery 5.7
    acks_on_failure = True
    acks_on_timeout = True
    ignore_result = True
    store_errors_even_if_ignored = False
    track_started = False
    autoretry_for = ()  # Celery would wrap the body and publish retries of its own
    workflow_name: str
    step_key: str
    runner: TaskRunner
    __trace__ = LazyTracer()

    def start_strategy(self, app: Any, consumer: Any, **options: Any) -> Any:
        """Celery's strategy for this task's messages, made when the first one comes."""
        return LazyStrategy(lambda: super(StepTask, self).start_strategy(app, consumer, **options))

    def claim(self) -> None:
        """Claim the attempt of the message, once per request; ``StorageError`` when the store is out of reach.

        A repeated call goes on with the same claim.
        """
        request: Any = self.request
        progress = self._progress
        if progress.attempt is not None or progress.refusal is not None:
            return
        hint = parse(request.args or (), request.kwargs or {})
        if hint is None or hint[1].step != self.step_key or not is_task_id(request.id):
            progress.refusal = "garbage"
            logger.error(
                "task %s got a message that is not from hephaestus-celery, and drops it: id %s args %s kwargs %s",
                self.name,
                *(shown(part, limit=200) for part in (request.id, request.args, request.kwargs)),
            )
            return
        run_id, activation, attempt, token = hint
        claimed = self._claim(run_id, activation, attempt, token, fence=progress.fence)
        if isinstance(claimed, Refusal):
            progress.refusal = claimed.reason.value
            self.runner.refusals.note(claimed, task=self.name, run_id=run_id, step=activation.step)
        else:
            progress.attempt = claimed

    def _claim(
        self, run_id: str, activation: Activation, attempt: int, token: int, *, fence: str
    ) -> HeldAttempt | Refusal:
        request: Any = self.request
        worker = Worker(
            hostname=find_worker(request.hostname),
            task_id=request.id,
            stop_exceptions=STOP_EXCEPTIONS,
            reserved_exceptions=RESERVED_EXCEPTIONS,
            is_interruption=is_interrupt,
            time_limit=soft_limit(self),
        )
        lane = self.runner.lane_of(request.delivery_info)
        try:
            return self.runner.driver.claim(
                self.workflow_name, run_id, activation, attempt, worker=worker, fence=fence, lane=lane, token=token
            )
        except StorageError as error:
            if error.transient:
                raise
            # The store would refuse this again, so the process goes on with other messages. The step stays due.
            logger.exception("[%s] step %s can't be claimed; another message is sent for it later", run_id, activation)
            return Refusal(reason=Refused.UNREADABLE)

    def emit_start(self) -> None:
        """Emit the events of the claim, once per request."""
        progress = self._progress
        if progress.attempt is not None and not progress.emitted_start:
            progress.emitted_start = True
            progress.attempt.emit_start(self.runner.driver.emitter)

    def run(self, *args: Any, **kwargs: Any) -> str:
        """Execute and commit. A failed attempt is raised after its commit, so that Celery's monitors see it.

        A repeated call for the same request, as by a ``__call__`` that retries by itself, gives the same result.
        """
        outcome = None
        while outcome is None:
            try:
                outcome = self._committed()
            except STOP_EXCEPTIONS as error:
                self._note_interruption(error)
        if outcome.retry_in is not None:
            # Nothing is published: the store's timer sends the next attempt. Monitors see the task retried.
            raise Retry(exc=outcome.error, when=cast("Any", outcome.retry_in))
        if outcome.error is not None:
            raise outcome.error
        return outcome.label

    def follow(self) -> None:
        """Emit the events of the commit and send the messages that follow from it, once per request, in that order."""
        progress = self._progress
        outcome = progress.outcome
        if outcome is None or progress.followed:
            return
        progress.followed = True
        outcome.emit(self.runner.driver.emitter)
        self.runner.dispatch(outcome.messages)

    def _claimed(self) -> HeldAttempt:
        """The claim that ``task_prerun`` has made; without one the message is a duplicate and ends here.

        The receiver of ``task_prerun`` may have failed, and Celery hides that. Then the claim is made here, and retried for
        the length of a lease. A frozen store may have granted a claim although the reply was lost. Giving up at once would
        then lose an attempt of a step that was never executed.
        """
        clock = self.runner.clock
        deadline = clock.monotonic_ns() + int(self.runner.driver.settings.lease.total_seconds() * 1e9)
        while True:
            try:
                self.claim()
                break
            except StorageError as error:
                if clock.monotonic_ns() > deadline:
                    raise Reject(str(error), requeue=True) from error
                clock.sleep(_CLAIM_AGAIN_SECONDS)
        self.emit_start()
        progress = self._progress
        if progress.refusal is not None:
            raise Ignore(progress.refusal)
        return cast("HeldAttempt", progress.attempt)

    def _committed(self) -> Outcome:
        driver, progress = self.runner.driver, self._progress
        if progress.outcome is None:
            attempt = self._claimed()
            try:
                if progress.executed is None:
                    progress.executed = driver.execute(attempt)
                progress.outcome = driver.commit(attempt, progress.executed)
            except STOP_EXCEPTIONS:
                raise  # it goes on, and so does the lease
            except BaseException as error:
                progress.given_up = isinstance(error, StorageError)
                driver.release(attempt)
                raise
        if progress.attempt is not None:
            driver.release(progress.attempt)
        return progress.outcome

    def _note_interruption(self, error: BaseException) -> None:
        # The interruption came outside the step's body, which handles its own. A result that exists by then is committed.
        # An attempt whose time is over, or that is not wanted any more, has failed. Any other attempt goes on.
        progress = self._progress
        if progress.attempt is None or not is_interrupt(error):
            raise error
        if progress.executed is None:
            progress.executed = self.runner.driver.interrupted(progress.attempt, error, earlier=progress.interruptions)
            progress.interruptions += 1

    def conclude(self, error: object) -> None:
        """Finish an attempt, however its task has ended.

        A claimed attempt without an outcome fails, for example after a hook of the application has raised. ``error`` is
        the exception of the task, if it is known. An outcome whose signal Celery has not sent is emitted now.
        """
        self.follow()
        progress = self._progress
        attempt = progress.attempt
        if attempt is None or progress.outcome is not None:
            return
        driver = self.runner.driver
        try:
            if not progress.given_up:
                reason = error if isinstance(error, BaseException) else "its task ended before it was executed"
                outcome = driver.fail(attempt, reason=reason)
                outcome.emit(driver.emitter)
                self.runner.dispatch(outcome.messages)
        except StorageError as away:
            logger.warning("[%s] %s, and the store is away (%s); its lease will expire", self.name, error, away)
        finally:
            driver.release(attempt)

    @property
    def _progress(self) -> Progress:
        return progress_of(self.request, chance=self.runner.chance)
