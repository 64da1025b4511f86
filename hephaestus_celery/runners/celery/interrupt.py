"""The remote control command that interrupts a step, in the main process of the worker that executes it.

Celery's own command, ``revoke(terminate=True)``, does not do. After it, the pool takes any later end of that process for a
termination on request, and the tasks of that process for terminated ones.
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
    """Raise SoftTimeLimitExceeded in the steps with these task ids; gives the ids of those that were interrupted."""
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
    """Add the command to the workers of this process; a repetition changes nothing."""
    cast("Any", control_command)(name=INTERRUPT, args=[("task_ids", list)], signature="[id1 [id2 [... [idN]]]]")(
        _interrupt
    )
