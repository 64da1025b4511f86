"""The exceptions by which a pool stops a step: at its soft time limit, or when it is interrupted."""

from __future__ import annotations

from typing import Any

from billiard.exceptions import Terminated
from billiard.pool import soft_timeout_sighandler
from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate, TimeLimitExceeded, WorkerLostError

STOP_EXCEPTIONS = (SoftTimeLimitExceeded,)
"""The exceptions that a pool raises in a step to stop it."""
RESERVED_EXCEPTIONS = (TaskPredicate, WorkerLostError, TimeLimitExceeded, Terminated)
"""Exceptions that mean something else than failure to Celery. If a step raises one, Celery gets only its text."""


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception was raised by the signal of the pool, and not by whoever was executed."""
    if not issubclass(
        type(error), STOP_EXCEPTIONS
    ):  # checked by type, since any other exception may run code of its own
        return False
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_code is soft_timeout_sighandler.__code__


def soft_limit(task: Any) -> float | None:
    """Seconds after which the pool stops what it executes: by the message, the task, or the application."""
    _, soft = task.request.timelimit or (None, None)
    return soft or task.soft_time_limit
