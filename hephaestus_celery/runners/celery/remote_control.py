"""Sends remote control commands to workers: to revoke tasks, and to interrupt those that are executed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from celery import Celery

from hephaestus_celery.runners.celery.connections import publish_over, unreachable

logger = logging.getLogger("hephaestus_celery")

INTERRUPT = "hephaestus_interrupt"
"""The remote control command of our workers that interrupts what they execute."""
INTERRUPT_SECONDS = 2.0
"""How long to wait for the replies of workers."""


def revoke(app: Celery, task_ids: Sequence[str]) -> None:
    """Make workers drop these tasks, which are not wanted any more. Workers that are not reached don't."""

    def publish(connection: Any) -> None:
        app.control.revoke(list(task_ids), connection=connection)

    if task_ids:
        _control(app, publish, f"{len(task_ids)} step(s) were not revoked")


def interrupt(app: Celery, holders: Mapping[str, str]) -> Collection[str]:
    """Interrupt these tasks on the workers that execute them; gives those that a worker has confirmed."""
    workers = sorted(set(holders.values()))
    replies: list[dict[str, dict[str, Any]]] = []

    def publish(connection: Any) -> None:
        found = app.control.broadcast(
            INTERRUPT,
            arguments={"task_ids": list(holders)},
            destination=workers,
            connection=connection,
            reply=True,
            timeout=INTERRUPT_SECONDS,
            limit=len(workers),
        )
        replies.extend(found or [])

    if holders:
        _control(app, publish, f"{len(holders)} step(s) were not interrupted")
    interrupted = [reply.get("ok", ()) for by_worker in replies for reply in by_worker.values()]
    return {task_id for task_ids in interrupted for task_id in task_ids}


def _control(app: Celery, publish: Callable[[Any], None], otherwise: str) -> None:
    try:
        with app.connection_or_acquire() as connection:
            publish_over(connection, lambda: publish(connection), revived=connection)
    except unreachable(app) as error:
        logger.warning("the broker is out of reach (%s); %s", error, otherwise)
