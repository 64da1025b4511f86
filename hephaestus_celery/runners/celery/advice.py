"""What a worker that starts says about settings that it is better off without. It changes none."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.solo import TaskPool as SoloPool

logger = logging.getLogger("hephaestus_celery")


def advise(app: Celery, consumer: Any) -> None:
    """Log what is wrong with the settings of a worker whose consumer is connected."""
    if _can_fall_silent(app, consumer):
        logger.warning(
            "a pool of threads may take no more messages after RabbitMQ was away; "
            "set worker_enable_prefetch_count_reduction = False"
        )


def _can_fall_silent(app: Celery, consumer: Any) -> bool:
    # Celery (5.5 to 5.7) raises the prefetch count again when the tasks that the lost connection has left are done, in
    # the thread that did them; then two threads read the answers of one connection, and one gets the other's.
    return (
        app.conf.worker_enable_prefetch_count_reduction
        and consumer.connection.transport.driver_type == "amqp"
        and not isinstance(consumer.pool, (PreforkPool, SoloPool))
    )
