"""Polls the broker in a worker without an event loop (gevent, eventlet) whose prefetch count is used up."""

from __future__ import annotations

from typing import Any

FULL_SECONDS = 0.02
"""How long such a worker waits for messages before it checks again."""


def poll_while_full(consumer: Any) -> None:
    """Make such a worker take a message soon after it has room for one.

    When a worker holds as many messages as it may prefetch, kombu's virtual transports wait for two seconds. A late
    acknowledgement comes from another greenlet, and does not wake them. So a pool of one would execute a step every two
    seconds. This shortens the wait to :data:`FULL_SECONDS`.
    """
    connection = consumer.connection
    if getattr(consumer, "hub", None) is not None or connection.transport.driver_type == "amqp":
        return
    qos = getattr(connection.default_channel, "qos", None)
    if qos is None:
        return
    drain = connection.drain_events

    def drain_events(timeout: float | None = None, **options: Any) -> Any:
        channel = getattr(getattr(consumer, "task_consumer", None), "channel", None)
        full = channel is not None and not channel.qos.can_consume()
        return drain(timeout=min(timeout or FULL_SECONDS, FULL_SECONDS) if full else timeout, **options)

    connection.drain_events = drain_events
