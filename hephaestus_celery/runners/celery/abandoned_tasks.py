"""A task ended without its body (lost, revoked, expired or unknown): its attempt is recovered at once.

The store would find each of them later, when a lease expires or a message is not claimed. This is faster.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from kombu.exceptions import KombuError

from hephaestus_celery.core.values.inputs import is_task_id
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.after_commit import Outcome
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.messages import Message, parse
from hephaestus_celery.runners.refusal_log import RefusalLog
from hephaestus_celery.storage.claims import Refusal

logger = logging.getLogger("hephaestus_celery")


class TaskRecovery:
    """Recovers attempts in the main process of a worker; ``hostname`` gives the worker's name, ``dispatch`` sends messages."""

    def __init__(
        self,
        driver: Callable[[], Driver],
        *,
        dispatch: Callable[[Sequence[Message]], None],
        hostname: Callable[[], str | None],
        refusals: RefusalLog,
    ) -> None:
        self._driver = driver
        self._dispatch = dispatch
        self._hostname = hostname
        self._refusals = refusals

    def fail(self, task_id: str, args: Any, *, reason: str, timed_out: bool = False) -> None:
        """Fail the attempt of a task that ended without a commit; ``timed_out``: it was ended at its time limit."""
        hint = parse(args or (), {})
        if hint is None or not is_task_id(task_id):
            return
        run_id, activation, attempt, _ = hint
        try:
            outcome = self._driver().recovery.fail_lost(
                run_id, activation, attempt, reason=reason, worker=self._worker(task_id), timed_out=timed_out
            )
        except StorageError as error:
            logger.warning(
                "[%s] step %s: %s, and the store is away (%s); its lease will expire", run_id, activation, reason, error
            )
            return
        if outcome is not None:
            self._follow(outcome)

    def revoke(self, workflow: str, step_key: str, *, task_id: str, args: Any, reason: str) -> None:
        """Fail an attempt whose task was revoked before it was executed; an event that it was to apply stays delivered."""
        hint = parse(args or (), {})
        if hint is None or hint[1].step != step_key or not is_task_id(task_id):
            return
        run_id, activation, attempt, _ = hint
        try:
            claimed = self._driver().claim(workflow, run_id, activation, attempt, worker=self._worker(task_id))
            if isinstance(claimed, Refusal):
                return
            claimed.emit_start(self._driver().emitter)
            outcome = self._driver().fail(claimed, reason=reason, in_task=False)
        except StorageError as error:
            logger.warning("[%s] step %s: %s, and the store is away (%s)", run_id, activation, reason, error)
            return
        self._follow(outcome)

    def _follow(self, outcome: Outcome) -> None:
        outcome.emit(self._driver().emitter)
        self._dispatch(outcome.messages)

    def send_again(self, workflow: str, step_key: str, *, args: Any) -> None:
        """Have the message of an attempt sent again soon: this one has expired, and that costs the attempt nothing."""
        hint = parse(args or (), {})
        if hint is None or hint[1].step != step_key:
            return
        run_id, activation, attempt, _ = hint
        try:
            self._driver().decline(workflow, run_id, activation, attempt)
        except StorageError as error:
            logger.warning(
                "step %s of run %s: its message expired, and the store is away (%s)", activation, run_id, error
            )

    def decline(self, task: str, message: Any) -> None:
        """Leave the message of a task that this worker does not know to others: Celery discards it."""
        try:
            hint = parse(*message.payload[:2])
        except (KombuError, ValueError, TypeError, KeyError):
            return  # not a message of ours
        if hint is None or not task.endswith(f".{hint[1].step}"):
            return
        run_id, activation, attempt, _ = hint
        try:
            refusal = self._driver().decline(task.removesuffix(f".{activation.step}"), run_id, activation, attempt)
        except StorageError:
            return  # the next message of that task is declined in the same way
        if isinstance(refusal, Refusal):
            self._refusals.note_left(refusal, step=activation.step)

    def _worker(self, task_id: str) -> Worker:
        return Worker(hostname=self._hostname(), task_id=task_id)
