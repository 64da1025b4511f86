"""Sending messages: one batch, no retries, no waiting. The store knows what is to be done if a message is lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from hephaestus_celery.runners.base import Message
from hephaestus_celery.runners.celery.task import task_name

logger = logging.getLogger("hephaestus_celery")


def send(app: Celery, messages: Sequence[Message], *, default_queue: str | None) -> None:
    """Publish messages; a broker that is out of reach is logged, and the messages are left to the store's due set."""
    if not messages:
        return
    try:
        with app.producer_or_acquire() as producer:
            _ensure_reachable(producer)
            batch = getattr(producer, "batch", None)  # kombu >= 5.7: one round trip for all messages
            with batch() if batch is not None and len(messages) > 1 else nullcontext():
                for message in messages:
                    _publish(app, producer, message, default_queue)
    except (OperationalError, OSError) as error:
        logger.warning(
            "the broker is out of reach (%s); %d step(s) of run %s are left to be dispatched by a worker",
            error,
            len(messages),
            messages[0].run_id,
        )


def _publish(app: Celery, producer: Any, message: Message, default_queue: str | None) -> None:
    name = task_name(message.workflow, message.step)
    options: dict[str, Any] = {}
    queue = message.step.queue or default_queue
    if queue is not None:
        options["queue"] = queue
    if message.step.priority is not None:
        options["priority"] = message.step.priority
    app.send_task(
        name,
        args=[message.run_id, message.step.key, message.attempt, message.token],
        task_id=message.task_id,
        producer=producer,
        ignore_result=True,
        add_to_parent=False,
        root_id=message.run_id,
        retry=False,
        argsrepr=f"({message.run_id}, {message.step.key}, {message.attempt})",
        kwargsrepr="{}",
        **options,
    )


def _ensure_reachable(producer: Any) -> None:
    # Without this a publish waits for the broker without end: kombu reconnects for ever unless it is told not to.
    connection = producer.connection
    if connection is not None and not connection.connected:
        connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=3)
