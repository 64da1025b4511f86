"""The connections of one event loop to the state store: each is lent to one call at a time, and their number is limited.

A call that is cancelled closes its connection: an unread answer would be taken for the answer to the next call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as SilentError

from hephaestus_celery.storage.redis.connections import Command, checked, pack
from hephaestus_celery.storage.redis.errors import AllInUseError, code_of

_OPENING = 1.5  # times the time limit of a call for all that opening a connection takes


@contextmanager
def cancellable() -> Generator[None]:
    """End a block that writes to a connection of redis-py's with ``CancelledError`` where that was lost on the way.

    redis-py writes under ``asyncio.wait_for``. Before Python 3.12, that returns as if nothing had been asked if the task is
    cancelled at the moment when all is written.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    yield
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


class LoopConnections:
    """Calls the server of a client from one event loop: up to ``most`` calls at a time; further calls wait their turn.

    They wait as long as others get on: ``AllInUseError`` when no call has come to its end for ``timeout`` seconds.
    """

    def __init__(self, client: Redis, *, most: int, timeout: float) -> None:
        self._pool: Any = client.connection_pool
        self._retry: Any = client.get_retry()
        self._most, self._timeout = most, timeout
        self._free: list[_Lent] = []
        self._made = 0
        self._closed = False
        self._waiting: deque[asyncio.Future[_Lent]] = deque()
        self._last_end = 0.0  # of a call that came to its end, by the clock of the loop
        self._context: Any = None  # of TLS: one for all connections
        self._reading = asyncio.Lock()

    async def call_many(self, commands: Sequence[Command], *, fits: Callable[[Any], bool]) -> list[Any]:
        """Send several commands in one round trip; see :meth:`.connections.Connections.call_many`."""
        packed = b"".join(map(pack, commands))
        lent = await self._take()
        lent.sent = 0
        try:
            replies: list[Any] = await self._retry.call_with_retry(
                lambda: lent.exchange(packed, len(commands), fits), lent.broken
            )
        except RedisError as error:
            vars(error)["sent"] = lent.sent
            if isinstance(error, ResponseError):
                self._last_end = asyncio.get_running_loop().time()
            raise
        else:
            self._last_end = asyncio.get_running_loop().time()
            return replies
        finally:
            await self._give(lent)

    async def close(self) -> None:
        """Close the free connections, and those to Sentinels; those that are lent are closed when they come back."""
        self._closed = True
        free, self._free = self._free, []
        for lent in free:
            await lent.hang_up()
        sentinels: Any = getattr(self._pool, "sentinel_manager", None)
        for sentinel in () if sentinels is None else sentinels.sentinels:
            await sentinel.connection_pool.disconnect(inuse_connections=True)

    def make(self) -> Any:
        """A connection of redis-py's that is not open yet."""
        return self._new(self._pool.connection_kwargs)

    def _new(self, options: dict[str, Any]) -> Any:
        connection = self._pool.connection_class(**options)
        if hasattr(connection, "ssl_context"):
            self._context = connection.ssl_context = self._context or connection.ssl_context
        return connection

    async def connect(self, **changed: object) -> Any:
        """An open connection that is nobody else's, with some options changed; whoever asked for it closes it."""
        connection = self._new({**self._pool.connection_kwargs, **changed})
        await self.open(connection)
        return connection

    async def open(self, connection: Any) -> None:
        """Open a connection of redis-py's.

        It takes a server that is silent during the greeting for a lost connection, and would try nine times: here all of it
        has one time limit.
        """
        try:
            await self._read_certificates()
            async with asyncio.timeout(_OPENING * self._timeout):
                with cancellable():  # sending would connect too, but without asking a Sentinel for the address
                    await connection.connect()
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise SilentError("Timeout connecting to server") from None
        except asyncio.CancelledError:
            await connection.disconnect(nowait=True)
            raise

    async def _read_certificates(self) -> None:
        # All that the machine trusts, once: tens of milliseconds, for which the loop goes on.
        if self._context is None or self._context.context is not None:
            return
        async with self._reading:
            if self._context.context is None:
                await asyncio.to_thread(self._context.get)

    async def _take(self) -> _Lent:
        if self._free:
            return self._free.pop()  # the last that came back, so that few are open
        if self._made < self._most:
            self._made += 1
            return _Lent(self)
        loop = asyncio.get_running_loop()
        since = loop.time()
        turn: asyncio.Future[_Lent] = loop.create_future()
        self._waiting.append(turn)
        try:
            while not turn.done():
                left = max(since, self._last_end) + self._timeout - loop.time()
                if left <= 0:
                    self._refuse()
                await asyncio.wait([turn], timeout=left)
            return turn.result()
        except BaseException:
            if turn.done():
                await self._give(turn.result())  # it came, but nobody waits for it any more
            else:
                turn.cancel()
            raise

    def _refuse(self) -> NoReturn:
        raise AllInUseError(f"all {self._most} connections of this event loop are in use")

    async def _give(self, lent: _Lent) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(lent)
                return
        if self._closed:
            await lent.hang_up()
        else:
            self._free.append(lent)


class _Lent:
    """A connection that is lent to one call, and opened when it is first used."""

    __slots__ = ("_connection", "_owner", "sent")

    def __init__(self, owner: LoopConnections) -> None:
        self._owner = owner
        self._connection: Any = None
        self.sent = 0

    async def exchange(self, packed: bytes, replies: int, fits: Callable[[Any], bool]) -> list[Any]:
        """Send commands and read their answers; the connection is kept only when all of them are read."""
        connection, self._connection = self._connection, None
        try:
            if connection is None:
                connection = self._owner.make()
                await self._owner.open(connection)
            self.sent += 1
            with cancellable():
                await connection.send_packed_command([packed])
            answers = checked([await _answer(connection) for _ in range(replies)], fits)
        except ResponseError as error:  # this was the answer
            self._connection = connection
            if code_of(error) == "READONLY":
                # The server was the primary until a failover. Its name may lead to the new primary by now.
                await self.hang_up()
            raise
        except BaseException:
            if connection is not None:
                await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        return answers

    async def broken(self, _: Exception) -> None:
        """Called by redis-py before it tries again."""
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close it; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
