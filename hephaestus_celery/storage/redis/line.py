"""Scripts go over a connection that each thread keeps.

A pool takes as long to lend a connection and to take it back as a script needs to run: measured with redis-py 8.1, 95 us of
processor time a call by way of the pool, 42 us without it. Everything else of redis-py stays: packing, parsing, time
limits, health checks, retries, Sentinel.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

from redis import Redis
from redis.exceptions import ResponseError

from hephaestus_celery.storage.redis.refusals import code_of


class Line:
    """Calls the server of a client."""

    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool
        self._retry: Any = client.get_retry()
        self._kept = threading.local()
        self._all: WeakSet[Any] = WeakSet()

    def call(self, *command: str | int) -> Any:
        """Send a command, and give what the server answers; tried again, as the client would, when the connection breaks.

        Whatever ends this early, a time limit or a signal, the connection is closed: an answer that nobody has read
        would be taken for that of the next command.
        """
        connection = self._connection()

        def once() -> Any:
            try:
                connection.connect()  # if it is not; send_command would, but without asking a Sentinel where to
                connection.send_command(*command)
                return connection.read_response()
            except ResponseError as error:  # this was the answer
                if code_of(error) == "READONLY":
                    # It was the primary until a failover: by now its name may lead to the new one.
                    connection.disconnect()
                raise
            except BaseException:
                connection.disconnect()
                raise

        def broken(_: Exception) -> None:
            connection.disconnect()

        return self._retry.call_with_retry(once, broken)

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in list(self._all):
            connection.disconnect()

    def _connection(self) -> Any:
        kept = getattr(self._kept, "connection", None)
        if kept is None or kept[0] != os.getpid():
            # A forked process has its parent's connections, which it must not use.
            kept = self._kept.connection = (os.getpid(), self._new_connection())
            self._all.add(kept[1])
        return kept[1]

    def _new_connection(self) -> Any:
        return self._pool.connection_class(**self._pool.connection_kwargs)
