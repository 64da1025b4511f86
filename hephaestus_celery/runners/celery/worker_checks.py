"""Advice that a worker logs when it starts, about settings that endanger messages.

It changes no setting.
"""

from __future__ import annotations

import logging
from typing import Any, cast

from celery import Celery
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.solo import TaskPool as SoloPool

from hephaestus_celery.runners.celery.settings import misspelt_settings
from hephaestus_celery.runners.celery.task import StepTask

logger = logging.getLogger("hephaestus_celery")

_SHOWN = 3


def advise(app: Celery, consumer: Any) -> None:
    """Log what is wrong with the settings of a worker whose consumer is connected."""
    for problem in misspelt_settings(app):
        logger.warning("%s", problem)
    if _can_fall_silent(app, consumer):
        logger.warning(
            "a pool of threads may take no more messages after RabbitMQ was away; "
            "set worker_enable_prefetch_count_reduction = False"
        )
    endangered = _endangered(app, consumer)
    more = len(endangered) - _SHOWN
    if endangered:
        logger.warning(
            "with ack_emulation = False in broker_transport_options, a message of %s that this worker has taken is lost "
            "when it is killed; steps of workflows are sent again, other tasks are not. Leave it on for workers that "
            "execute such tasks, or take them from other queues",
            ", ".join(endangered[:_SHOWN]) + (f" (and of {more} more)" if more > 0 else ""),
        )


def _endangered(app: Celery, consumer: Any) -> list[str]:
    if consumer.connection.transport.driver_type != "redis" or app.conf.broker_transport_options.get(
        "ack_emulation", True
    ):
        return []
    tasks: dict[str, Any] = cast("Any", app).tasks
    return sorted(
        name for name, task in tasks.items() if not isinstance(task, StepTask) and not name.startswith("celery.")
    )


def _can_fall_silent(app: Celery, consumer: Any) -> bool:
    # After a lost connection, Celery (5.5 to 5.7) raises the prefetch count when the tasks of that connection are done,
    # in the thread that did them. Then two threads read from one connection, and one gets the other's replies.
    return (
        app.conf.worker_enable_prefetch_count_reduction
        and consumer.connection.transport.driver_type == "amqp"
        and not isinstance(consumer.pool, (PreforkPool, SoloPool))
    )
