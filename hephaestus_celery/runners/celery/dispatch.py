"""Sending messages: one batch, no retries, no waiting. The store knows what is to be done if a message is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from celery import Celery
from celery.exceptions import QueueNotFound
from kombu.exceptions import OperationalError

from hephaestus_celery.runners.celery.headers import Prepared, carried_options, carrying
from hephaestus_celery.runners.celery.overrides import find_task
from hephaestus_celery.runners.messages import Message

logger = logging.getLogger("hephaestus_celery")

INTERRUPT = "hephaestus_interrupt"
"""The remote control command of our workers that interrupts what they execute."""
INTERRUPT_SECONDS = 2.0
"""How long the answers of workers are waited for."""
HARD_MARGIN = 1.0
"""Seconds after a step's time limit at which a pool that can ends its process, should the step go on regardless."""


See = Callable[[Message, Mapping[str, Any]], None]
"""Is told where a message goes: see :func:`~hephaestus_celery.runners.celery.headers.carrying`."""


def send(app: Celery, messages: Sequence[Message], *, default_queue: str | None, see: See | None = None) -> None:
    """Publish messages. What can't be sent is logged and left to the store's due set, and keeps nothing else back."""
    if not messages:
        return
    try:
        _send(app, messages, default_queue, see)
    except Exception as error:  # noqa: BLE001 - routers are the user's code, and a run that is stored has been accepted
        if isinstance(error, unreachable(app)) and not _is_refusal(app, error):
            logger.warning(
                "the broker is out of reach (%s); %d step(s) of run %s are left to be dispatched by a worker",
                error,
                len(messages),
                messages[0].run_id,
            )
        elif len(messages) == 1:
            _tell(app, messages[0], error)
        else:
            # One for a queue that was declared in another way, or one that a router fails at, is to be alone with that:
            # what comes due together is sent together, whatever run it is of.
            for message in messages:
                send(app, [message], default_queue=default_queue, see=see)


def _tell(app: Celery, message: Message, error: Exception) -> None:
    logger.error(
        "the message for step %s of run %s can't be sent (%s); that is tried again later",
        message.step,
        message.run_id,
        error,
        exc_info=None if _is_refusal(app, error) else error,
    )


def _send(app: Celery, messages: Sequence[Message], default_queue: str | None, see: See | None) -> None:
    def publish() -> None:
        batch = getattr(producer, "batch", None)  # kombu >= 5.7: one round trip for all messages, where that saves any
        with batch() if batch is not None and len(messages) > 1 else nullcontext():
            for message in messages:
                send_one(app, producer, message, default_queue, see=see)

    with app.producer_or_acquire() as producer:
        _reach(producer.connection, publish, revived=producer)


def revoke(app: Celery, task_ids: Sequence[str]) -> None:
    """Tell workers that nobody waits for these tasks any more; best effort."""

    def publish(connection: Any) -> None:
        app.control.revoke(list(task_ids), connection=connection)

    if task_ids:
        _control(app, publish, f"{len(task_ids)} step(s) were not revoked")


def interrupt(app: Celery, holders: Mapping[str, str]) -> Collection[str]:
    """Interrupt these tasks on the workers that execute them; gives those of which a worker says that it did."""
    workers = sorted(set(holders.values()))
    answers: list[dict[str, dict[str, Any]]] = []

    def publish(connection: Any) -> None:
        told = app.control.broadcast(
            INTERRUPT,
            arguments={"task_ids": list(holders)},
            destination=workers,
            connection=connection,
            reply=True,
            timeout=INTERRUPT_SECONDS,
            limit=len(workers),
        )
        answers.extend(told or [])

    if holders:
        _control(app, publish, f"{len(holders)} step(s) were not interrupted")
    told = [answer.get("ok", ()) for answers_of_one in answers for answer in answers_of_one.values()]
    return {task_id for task_ids in told for task_id in task_ids}


def _control(app: Celery, publish: Callable[[Any], None], otherwise: str) -> None:
    try:
        with app.connection_or_acquire() as connection:
            _reach(connection, lambda: publish(connection), revived=connection)
    except unreachable(app) as error:
        logger.warning("the broker is out of reach (%s); %s", error, otherwise)


def _reach(connection: Any, publish: Callable[[], None], *, revived: Any) -> None:
    """Publish, over a new connection where the pooled one turns out to be dead; never without end.

    A connection to RabbitMQ does not survive a restart of the broker, nor the firewalls that forget idle ones, and shows
    that only when it is used. What was sent before it did is sent again, which is harmless.
    """
    connect(connection)
    try:
        publish()
    except (OperationalError, *connection.recoverable_connection_errors):
        connection.collect()
        connect(connection)
        revived.revive(connection.default_channel)
        publish()


def connect(connection: Any) -> None:
    """Connect, or raise soon."""
    # Without this a publish waits for the broker without end: kombu reconnects for ever unless it is told not to.
    if not connection.connected:
        connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=3)


def unreachable(app: Celery) -> tuple[type[BaseException], ...]:
    """What is raised when the broker can't be reached, or refuses what is sent."""
    transport = app.connection_for_write().transport
    return (OperationalError, OSError, *transport.connection_errors, *transport.channel_errors)


def _is_refusal(app: Celery, error: BaseException) -> bool:
    # Celery wraps what it thinks can be recovered from. A queue that is not configured is a KeyError, and so, to kombu,
    # is a broken connection.
    refusals = (QueueNotFound, *app.connection_for_write().transport.channel_errors)
    return isinstance(error, refusals) or isinstance(error.__cause__, refusals)


def argsrepr(message: Message) -> str:
    """How monitors show what a message says."""
    return f"({message.run_id}, {message.step}, {message.attempt})"


def send_one(
    app: Celery, producer: Any, message: Message, default_queue: str | None, *, see: See | None = None
) -> None:
    """Publish one message by this producer, as the application sends any task."""
    if isinstance(message.prepared, Prepared):
        message.prepared.publish(producer)
        return
    with carrying(producer, message, see=None if see is None else partial(see, message)):
        call_task(app, producer, message, default_queue)


def call_task(app: Celery, producer: Any, message: Message, default_queue: str | None) -> None:
    """Call the task of a message's step, for whatever the application has put in the way of that."""
    task = find_task(app, message.task_name)
    options: dict[str, Any] = {
        "args": [message.run_id, message.step, message.attempt, message.token],
        "task_id": message.task_id,
        "producer": producer,
        "ignore_result": True,
        "add_to_parent": False,
        "root_id": message.run_id,
        "retry": False,
        "argsrepr": argsrepr(message),
        "kwargsrepr": "{}",
        **carried_options(message),
        **options_of(message, task, default_queue),
    }
    # By the task where this process has it: its class may be the application's own, and its annotations count. Before
    # Celery 5.7 `send_task` does not look at them.
    if task is None:
        app.send_task(message.task_name, **options)
    else:
        task.apply_async(**options)


def options_of(message: Message, task: Any, default_queue: str | None) -> dict[str, Any]:
    """How a message is sent, as far as its step or the task that is registered for it say so."""
    chosen: dict[str, Any] = {
        "queue": message.queue or getattr(task, "queue", None) or default_queue,
        "priority": getattr(task, "priority", None) if message.priority is None else message.priority,
        "soft_time_limit": message.time_limit,
        "time_limit": None if message.time_limit is None else message.time_limit + HARD_MARGIN,
    }
    return {option: value for option, value in chosen.items() if value is not None}
