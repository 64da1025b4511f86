"""Cancelling a run's tasks: revokes their messages, and interrupts their processes where that is asked for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hephaestus_celery.core.values.cancel_report import CancelReport
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.runners.messages import messages

if TYPE_CHECKING:
    from hephaestus_celery.runners.port import Runner
    from hephaestus_celery.storage.resume_and_cancel import Cancellation

logger = logging.getLogger("hephaestus_celery")


def end_tasks(runner: Runner, instance: Instance, cancelled: Cancellation, *, terminate: bool) -> CancelReport:
    """Revoke the messages that no worker has claimed; with ``terminate`` interrupt what is being executed."""
    sent = messages(instance.workflow_name, instance.workflow_version, instance.run_id, cancelled.sent)
    holders = {task_id: key for key, (task_id, _) in cancelled.held.items() if task_id is not None}
    runner.revoke([*(message.task_id for message in sent), *holders])
    if not terminate:
        return CancelReport(executing=frozenset(cancelled.held))
    workers = {
        task_id: worker for task_id, worker in cancelled.held.values() if task_id is not None and worker is not None
    }
    interrupted = frozenset(holders[task_id] for task_id in runner.interrupt(workers) if task_id in holders)
    others = sorted(cancelled.held.keys() - interrupted)
    if others:
        logger.warning(
            "[%s] is cancelled, but %s could not be interrupted: only prefork pools can, and only while the worker replies. What is "
            "being executed goes on, and its result is discarded; let long steps ask context.cancelled()",
            instance.id,
            ", ".join(others),
        )
    return CancelReport(executing=frozenset(cancelled.held), interrupted=interrupted)
