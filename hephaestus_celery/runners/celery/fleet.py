"""Reads what the Celery workers report that they hold, and how many messages wait in the queues of the broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.runners.celery.connections import connect
from hephaestus_celery.runners.celery.routing import HIGHEST_PRIORITY
from hephaestus_celery.runners.fleet import BrokerAwayError, Holdings
from hephaestus_celery.runners.lost_messages import all_holdings
from hephaestus_celery.storage.port import Storage


class CeleryFleet:
    """The workers of an application, as they report, and its broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def holdings(self, storage: Storage) -> Sequence[Holdings]:
        """What each living worker holds."""
        return all_holdings(storage)

    def length(self, lane: Lane) -> int | None:
        """How many messages wait in the queue, on Redis those of the priority alone."""
        with self._app.connection_for_read() as connection:
            transport = connection.transport
            try:
                connect(connection)
                channel: Any = connection.default_channel
                if transport.driver_type == "redis":
                    listed = channel._q_for_pri(lane.queue, lane.priority)  # noqa: SLF001 - kombu gives it in no other way
                    return channel.client.llen(listed)
                return channel.queue_declare(lane.queue, passive=True).message_count
            except transport.channel_errors:
                return 0  # there is no such queue
            except (OperationalError, OSError, *transport.connection_errors) as error:
                raise BrokerAwayError(str(error)) from error

    def counted(self, lane: Lane) -> Sequence[Lane]:
        """The lanes of the same queue: on brokers other than Redis, its length counts all priorities together."""
        with self._app.connection_for_read() as connection:
            if connection.transport.driver_type == "redis":
                return [lane]
        return [Lane(lane.queue, priority) for priority in range(HIGHEST_PRIORITY + 1)]
