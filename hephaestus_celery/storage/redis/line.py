"""Scripts go over a connection that each thread keeps.

A pool takes as long to lend a connection and to take it back as a script needs to run: measured with redis-py 8.1, 95 us of
processor time a call by way of the pool, 42 us without it. Everything else of redis-py stays: parsing, time limits, health
checks, retries, Sentinel.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
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
        self._all: WeakSet[_Kept] = WeakSet()

    def call(self, *command: str | int) -> Any:
        """Send a command, and give what the server answers; tried again, as the client would, when the connection breaks.

        Whatever ends this early, a time limit or a signal, the connection is closed: an answer that nobody has read
        would be taken for that of the next command.
        """
        kept, packed = self._connection(), pack(command)

        def once() -> Any:
            try:
                if not kept.up:
                    kept.connection.connect()  # sending would connect too, but without asking a Sentinel where to
                    kept.up = True
                kept.connection.send_packed_command([packed])
                return kept.connection.read_response()
            except ResponseError as error:  # this was the answer
                if code_of(error) == "READONLY":
                    # It was the primary until a failover: by now its name may lead to the new one.
                    kept.hang_up()
                raise
            except BaseException:
                kept.hang_up()
                raise

        def broken(_: Exception) -> None:
            kept.hang_up()

        return self._retry.call_with_retry(once, broken)

    def close(self) -> None:
        """Close the connections of all threads."""
        for kept in list(self._all):
            kept.hang_up()

    def _connection(self) -> _Kept:
        kept: _Kept | None = getattr(self._kept, "connection", None)
        if kept is None or kept.pid != os.getpid():
            # A forked process has its parent's connections, which it must not use.
            kept = self._kept.connection = _Kept(self._pool.connection_class(**self._pool.connection_kwargs))
            self._all.add(kept)
        return kept


class _Kept:
    """A connection of one thread of one process."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.pid = os.getpid()
        self.up = False

    def hang_up(self) -> None:
        self.up = False
        self.connection.disconnect()


def pack(command: Sequence[str | int]) -> bytes:
    """A command as the protocol has it: https://valkey.io/topics/protocol. redis-py's own way takes four times as long."""
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        data = word.encode() if isinstance(word, str) else b"%d" % word
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
