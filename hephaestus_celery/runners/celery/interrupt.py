"""The remote control command that interrupts a step, in the main process of the worker that executes it.

Celery's own way, ``revoke(terminate=True)``, would have the pool take the end of that process, whenever it comes, for one
that was asked for, and its tasks for terminated ones.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import Any, cast

from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.worker import state as worker_state
from celery.worker.control import control_command

from hephaestus_celery.runners.celery.remote_control import INTERRUPT
from hephaestus_celery.runners.celery.task import StepTask

logger = logging.getLogger("hephaestus_celery")


def _interrupt(state: Any, task_ids: Any = (), **_: Any) -> dict[str, list[str]]:
    """Raise SoftTimeLimitExceeded in the steps that this worker executes under these task ids; gives those that it could."""
    pool = state.consumer.pool
    if not isinstance(pool, PreforkPool):
        return {"ok": []}  # a thread, or a greenlet that computes, can't be interrupted
    processes: set[int] = {process.pid for process in getattr(getattr(pool, "_pool", None), "_pool", ())}
    interrupted: list[str] = []
    for request in list(worker_state.active_requests):
        pid = request.worker_pid
        if request.id in task_ids and isinstance(request.task, StepTask) and pid in processes:
            logger.info("step task %s is interrupted: its run was cancelled", request.id)
            os.kill(pid, signal.SIGUSR1)
            interrupted.append(request.id)
    return {"ok": interrupted}


def register() -> None:
    """Have the workers of this process know the command; again is the same as once."""
    cast("Any", control_command)(name=INTERRUPT, args=[("task_ids", list)], signature="[id1 [id2 [... [idN]]]]")(
        _interrupt
    )
