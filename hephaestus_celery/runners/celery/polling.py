"""Polls the broker in a worker without an event loop (gevent, eventlet) whose prefetch count is used up."""

from __future__ import annotations

from typing import Any

FULL_SECONDS = 0.02
"""How long such a worker waits for messages at a time."""


def poll_while_full(consumer: Any) -> None:
    """Have such a worker take messages as soon as it may.

    Where it holds as many as it may prefetch, kombu's virtual transports ask for none, and wait for two seconds on end: a
    late acknowledgement, which comes from another greenlet, does not wake them. A pool of one would do a step every two
    seconds. So they wait for :data:`FULL_SECONDS` there.
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
