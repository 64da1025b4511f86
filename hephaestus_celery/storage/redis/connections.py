"""The pool of connections to the state store: each is lent to one user at a time, and their number is limited.

A user is any caller: a thread, a greenlet, a finalizer, or a signal handler that interrupts another call of its own thread.
So nothing here waits for a lock. Free connections are kept in a deque, whose operations are atomic. A user that finds no free
connection waits for an event of its own.

redis-py's pools take as long to lend a connection and to take it back as a script needs to run: measured with redis-py 8.1,
95 us of processor time a call by way of its pool, 42 us without it. Everything else of redis-py stays: parsing, time limits,
health checks, retries, Sentinel.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.storage.redis.errors import AllInUseError, UnexpectedReplyError, code_of

MOST = 50
"""The most connections of one process, unless its options set ``max_connections``. A call takes a millisecond or less."""

Command = Sequence[str | int]


class Connections:
    """Calls the server of a client: up to ``most`` calls at a time; further calls wait, ``timeout`` seconds at most."""

    def __init__(self, client: Redis, *, most: int, timeout: float) -> None:
        self._pool: Any = client.connection_pool
        self._retry: Any = client.get_retry()
        self._most, self._timeout = most, timeout
        self._stock = _Stock(self._pool, most)

    def call(self, *command: str | int, fits: Callable[[Any], bool]) -> Any:
        """Send a command and return the server's answer; retry like the client does if the connection breaks.

        Raises ``UnexpectedReplyError`` for an answer that does not fit, and ``AllInUseError``. The attribute ``sent`` of every
        error says how often the command may have reached the server.
        """
        [reply] = self.call_many([command], fits=fits)
        return reply

    def call_many(self, commands: Sequence[Command], *, fits: Callable[[Any], bool]) -> list[Any]:
        """Send several commands in one round trip; returns the answers in order. An error of one command is raised for all."""
        packed = b"".join(map(pack, commands))
        stock = self._own_stock()
        lent = stock.take(self._timeout)
        lent.sent = 0
        try:
            return self._retry.call_with_retry(lambda: lent.exchange(packed, len(commands), fits), lent.broken)
        except RedisError as error:
            vars(error)["sent"] = lent.sent
            raise
        finally:
            stock.give(lent)

    def close(self) -> None:
        """Close the free connections; a lent connection is closed when it comes back."""
        stock, self._stock = self._stock, _Stock(self._pool, self._most)
        if stock.pid == os.getpid():
            stock.close()

    def _own_stock(self) -> _Stock:
        # A forked process inherits its parent's connections, but must not use them.
        if self._stock.pid != os.getpid():
            self._stock = _Stock(self._pool, self._most)
        return self._stock


class _Lent:
    """A connection that is lent to one user, and opened when it is first used."""

    __slots__ = ("_connection", "_stock", "sent")

    def __init__(self, stock: _Stock) -> None:
        self._stock = weakref.ref(stock)
        self._connection: Any = None
        self.sent = 0

    def __del__(self) -> None:
        # A signal may arrive at any point between taking and giving back. Then another connection replaces this one.
        stock = self._stock()
        if stock is not None:
            stock.replace()

    def exchange(self, packed: bytes, replies: int, fits: Callable[[Any], bool]) -> list[Any]:
        """Send commands and read their answers.

        If a time limit or a signal ends this early, the connection is not used again: an unread answer would be taken for the
        answer to the next command. So the connection is released first, and kept only when all answers are read.
        """
        connection, self._connection = self._connection, None
        try:
            if connection is None:
                connection = self._open()
            self.sent += 1
            connection.send_packed_command([packed])
            answers = checked([_answer(connection) for _ in range(replies)], fits)
        except ResponseError as error:  # this was the answer
            self._connection = connection
            if code_of(error) == "READONLY":
                # The server was the primary until a failover. Its name may lead to the new primary by now.
                self.hang_up()
            raise
        except BaseException:
            if connection is not None:
                connection.disconnect()
            raise
        self._connection = connection
        return answers

    def _open(self) -> Any:
        stock = self._stock()
        assert stock is not None  # noqa: S101 - the caller has taken this from the stock
        connection = stock.make()
        connection.connect()  # sending would connect too, but without asking a Sentinel for the address
        return connection

    def broken(self, _: Exception) -> None:
        """Called by redis-py before it tries again."""
        self.hang_up()

    def hang_up(self) -> None:
        """Close it; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def checked(replies: list[Any], fits: Callable[[Any], bool]) -> list[Any]:
    """The replies; raises the first that is an error, and ``UnexpectedReplyError`` for one that does not fit."""
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
        if not fits(reply):
            raise UnexpectedReplyError(f"its reply does not fit the call: {reply!r:.100}")
    return replies


class _Stock:
    """The connections of one process. The last that came back is lent next, so that few are open."""

    def __init__(self, pool: Any, most: int) -> None:
        self.pid = os.getpid()
        self._pool = pool
        self._free: deque[_Lent] = deque()
        self._waiting: deque[threading.Event] = deque()
        self._most = most
        self._closed = False
        self._free.extend(_Lent(self) for _ in range(most))

    def make(self) -> Any:
        """A connection of redis-py's that is not open yet."""
        return self._pool.connection_class(**self._pool.connection_kwargs)

    def take(self, timeout: float) -> _Lent:
        """A connection that nobody else has."""
        try:
            return self._free.pop()
        except IndexError:
            return self._wait(SYSTEM_CLOCK.monotonic_ns() + int(timeout * 1e9))

    def replace(self) -> None:
        """Replace a connection that is gone."""
        if not self._closed:
            self._free.appendleft(_Lent(self))
            self._wake_one()

    def give(self, lent: _Lent) -> None:
        """Put a connection back."""
        if self._closed:
            lent.hang_up()
        self._free.append(lent)
        self._wake_one()

    def close(self) -> None:
        """Close the free connections; the others are closed when they are given back."""
        self._closed = True
        for lent in list(self._free):
            lent.hang_up()

    def _wait(self, deadline: int) -> _Lent:
        # Made now, not earlier: gevent or eventlet may have replaced the class since the import.
        event = threading.Event()
        try:
            while True:
                self._waiting.append(event)
                try:
                    return self._free.pop()  # a connection may have come back before this user joined the line
                except IndexError:
                    left = (deadline - SYSTEM_CLOCK.monotonic_ns()) / 1e9
                if left <= 0 or not event.wait(left):
                    raise AllInUseError(f"all {self._most} connections of this process are in use")
                event.clear()
        finally:
            try:
                self._waiting.remove(event)
            except ValueError:
                self._wake_one()  # it was removed from the line for a connection that this user may not have taken

    def _wake_one(self) -> None:
        with contextlib.suppress(IndexError):
            self._waiting.popleft().set()


def pack(command: Command) -> bytes:
    """Encode a command for the protocol (https://valkey.io/topics/protocol); redis-py's own code takes four times as long."""
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        data = word.encode() if isinstance(word, str) else b"%d" % word
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
