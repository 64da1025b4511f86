"""Connections to the broker: they open soon or fail, and a dead one is replaced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.exceptions import QueueNotFound
from kombu.exceptions import OperationalError


def publish_over(connection: Any, publish: Callable[[], None], *, revived: Any) -> None:
    """Publish, and once more over a new connection if the pooled one is dead.

    A connection to RabbitMQ breaks when the broker restarts, or when a firewall drops it while idle. That shows only when
    it is used. Messages that were sent over it before are sent again, which is harmless.
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
    # By default kombu reconnects for ever, so a publish would never return while the broker is away.
    if not connection.connected:
        connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=3)


def unreachable(app: Celery) -> tuple[type[BaseException], ...]:
    """What is raised when the broker can't be reached, or refuses what is sent."""
    transport = app.connection_for_write().transport
    return (OperationalError, OSError, *transport.connection_errors, *transport.channel_errors)


def is_refusal(app: Celery, error: BaseException) -> bool:
    """Whether the broker was reached, and has no place for what was sent."""
    # Celery wraps errors that it takes for recoverable. A queue that is not configured raises a KeyError, as a broken
    # connection does in kombu.
    refusals = (QueueNotFound, *app.connection_for_write().transport.channel_errors)
    return isinstance(error, refusals) or isinstance(error.__cause__, refusals)
