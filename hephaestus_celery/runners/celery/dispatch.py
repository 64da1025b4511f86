"""Sends messages to the broker: one batch, no retries, no waiting.

The scheduler sends a lost message again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from celery import Celery

from hephaestus_celery.runners.celery.connections import is_refusal, publish_over, unreachable
from hephaestus_celery.runners.celery.custom_sending import find_task
from hephaestus_celery.runners.celery.headers import CapturedMessage, header_options, with_run_headers
from hephaestus_celery.runners.messages import Message

logger = logging.getLogger("hephaestus_celery")

HARD_MARGIN = 1.0
"""Seconds after a step's time limit at which a pool that can ends its process, should the step go on regardless."""

OnSent = Callable[[Message, Mapping[str, Any]], None]
"""Called with each message that is sent, and its place: see
:func:`~hephaestus_celery.runners.celery.headers.with_run_headers`."""


def send(app: Celery, messages: Sequence[Message], *, default_queue: str | None, on_sent: OnSent | None = None) -> None:
    """Publish messages. One that can't be sent is logged, and the scheduler sends it again; the others are sent."""
    if not messages:
        return
    try:
        _send(app, messages, default_queue, on_sent)
    except Exception as error:  # noqa: BLE001 - routers are the user's code, and a run that is stored has been accepted
        if isinstance(error, unreachable(app)) and not is_refusal(app, error):
            logger.warning(
                "the broker is out of reach (%s); %d step(s) of run %s are left to be dispatched by a worker",
                error,
                len(messages),
                messages[0].run_id,
            )
        elif len(messages) == 1:
            _log(app, messages[0], error)
        else:
            # One message may fail alone: its queue was declared differently, or a router fails on it. The others, which
            # may belong to other runs, are still sent.
            for message in messages:
                send(app, [message], default_queue=default_queue, on_sent=on_sent)


def _log(app: Celery, message: Message, error: Exception) -> None:
    logger.error(
        "the message for step %s of run %s can't be sent (%s); that is tried again later",
        message.step,
        message.run_id,
        error,
        exc_info=None if is_refusal(app, error) else error,
    )


def _send(app: Celery, messages: Sequence[Message], default_queue: str | None, on_sent: OnSent | None) -> None:
    def publish() -> None:
        batch = getattr(producer, "batch", None)  # kombu >= 5.7: one round trip for all messages, where that saves any
        with batch() if batch is not None and len(messages) > 1 else nullcontext():
            for message in messages:
                send_one(app, producer, message, default_queue, on_sent=on_sent)

    with app.producer_or_acquire() as producer:
        publish_over(producer.connection, publish, revived=producer)


def argsrepr(message: Message) -> str:
    """How monitors show the arguments of a message."""
    return f"({message.run_id}, {message.step}, {message.attempt})"


def send_one(
    app: Celery, producer: Any, message: Message, default_queue: str | None, *, on_sent: OnSent | None = None
) -> None:
    """Publish one message by this producer, as the application sends any task."""
    if isinstance(message.prepared, CapturedMessage):
        message.prepared.publish(producer)
        return
    with with_run_headers(producer, message, on_sent=None if on_sent is None else partial(on_sent, message)):
        call_task(app, producer, message, default_queue)


def call_task(app: Celery, producer: Any, message: Message, default_queue: str | None) -> None:
    """Send a message by calling the task of its step, so that the application's own code for sending runs."""
    task = find_task(app, message.task_name)
    options: dict[str, Any] = {
        "args": [message.run_id, str(message.activation), message.attempt, message.token],
        "task_id": message.task_id,
        "producer": producer,
        "ignore_result": True,
        "add_to_parent": False,
        "root_id": message.run_id,
        "retry": False,
        "argsrepr": argsrepr(message),
        "kwargsrepr": "{}",
        **header_options(message),
        **options_of(message, task, default_queue),
    }
    # Call the task itself if this process has it: its class may be the application's own, and it has annotations. Before
    # Celery 5.7 `send_task` ignores these.
    if task is None:
        app.send_task(message.task_name, **options)
    else:
        task.apply_async(**options)


def options_of(message: Message, task: Any, default_queue: str | None) -> dict[str, Any]:
    """The options of a message: those of its step, and those of the task that is registered for it."""
    chosen: dict[str, Any] = {
        "queue": message.queue or getattr(task, "queue", None) or default_queue,
        "priority": getattr(task, "priority", None) if message.priority is None else message.priority,
        "soft_time_limit": message.time_limit,
        "time_limit": None if message.time_limit is None else message.time_limit + HARD_MARGIN,
    }
    return {option: value for option, value in chosen.items() if value is not None}
