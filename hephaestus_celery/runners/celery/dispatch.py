"""Sending messages: one batch, no retries, no waiting. The store knows what is to be done if a message is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from hephaestus_celery.runners.base import Message

logger = logging.getLogger("hephaestus_celery")


def send(app: Celery, messages: Sequence[Message], *, default_queue: str | None) -> None:
    """Publish messages; a broker that is out of reach is logged, and the messages are left to the store's due set."""
    if not messages:
        return

    def publish() -> None:
        batch = getattr(producer, "batch", None)  # kombu >= 5.7: one round trip for all messages, where that saves any
        with batch() if batch is not None and len(messages) > 1 else nullcontext():
            for message in messages:
                send_one(app, producer, message, default_queue)

    consequence = f"{len(messages)} step(s) of run {messages[0].run_id} are left to be dispatched by a worker"
    with _tolerated(app, consequence), app.producer_or_acquire() as producer:
        _reach(producer.connection, publish, revived=producer)


def revoke(app: Celery, messages: Sequence[Message]) -> None:
    """Tell workers that nobody waits for these attempts any more; best effort."""
    if not messages:
        return

    def publish() -> None:
        app.control.revoke([message.task_id for message in messages], connection=connection)

    consequence = f"{len(messages)} step(s) being executed were not told of their run's end"
    with _tolerated(app, consequence), app.connection_or_acquire() as connection:
        _reach(connection, publish, revived=connection)


def _reach(connection: Any, publish: Callable[[], None], *, revived: Any) -> None:
    """Publish, over a new connection where the pooled one turns out to be dead; never without end.

    A connection to RabbitMQ does not survive a restart of the broker, nor the firewalls that forget idle ones, and shows
    that only when it is used. What was sent before it did is sent again, which is harmless.
    """
    _connect(connection)
    try:
        publish()
    except (OperationalError, *connection.recoverable_connection_errors):
        connection.collect()
        _connect(connection)
        revived.revive(connection.default_channel)
        publish()


def _connect(connection: Any) -> None:
    # Without this a publish waits for the broker without end: kombu reconnects for ever unless it is told not to.
    if not connection.connected:
        connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=3)


@contextmanager
def _tolerated(app: Celery, consequence: str) -> Generator[None]:
    try:
        yield
    except unreachable(app) as error:
        logger.warning("the broker is out of reach (%s); %s", error, consequence)


def unreachable(app: Celery) -> tuple[type[BaseException], ...]:
    """What is raised when the broker can't be reached."""
    transport = app.connection_for_write().transport
    return (OperationalError, OSError, *transport.connection_errors, *transport.channel_errors)


def argsrepr(message: Message) -> str:
    """How monitors show what a message says."""
    return f"({message.run_id}, {message.step}, {message.attempt})"


def send_one(app: Celery, producer: Any, message: Message, default_queue: str | None) -> None:
    """Publish one message by this producer."""
    name = f"{message.workflow}.{message.step}"
    options: dict[str, Any] = {}
    queue = message.queue or default_queue
    if queue is not None:
        options["queue"] = queue
    if message.priority is not None:
        options["priority"] = message.priority
    app.send_task(
        name,
        args=[message.run_id, message.step, message.attempt, message.token],
        task_id=message.task_id,
        producer=producer,
        ignore_result=True,
        add_to_parent=False,
        root_id=message.run_id,
        retry=False,
        argsrepr=argsrepr(message),
        kwargsrepr="{}",
        **options,
    )
