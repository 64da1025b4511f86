"""Waits for the ends of runs on one event loop: one connection for all of them, and no thread.

As ``waits_for_ends.py``: ends are published, and since a published message may be lost, all awaited runs are also looked at
now and then, in one round trip for many. While somebody waits, two tasks work for all waits: one subscribes and looks, and one
reads what is published.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any

from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError

from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.storage.redis.connections import pack
from hephaestus_celery.storage.redis.loop_connections import cancellable
from hephaestus_celery.storage.redis.waits_for_ends import LOOK, LOOK_EACH, SLICE

_LINGER = 0.5  # seconds for which the connection is kept when nobody waits any more

Ended = Callable[[Sequence[str]], Awaitable[list[bool]]]


class _Wait:
    """One wait. ``end`` gets its result when the run has ended, or the error that says why that can't be known."""

    __slots__ = ("end", "looked", "run_id")

    def __init__(self, run_id: str, end: asyncio.Future[None]) -> None:
        self.run_id, self.end = run_id, end
        self.looked = False  # whether the run was looked at since this wait began


def _closed() -> ConfigurationError:
    return ConfigurationError(
        "hephaestus.aio was closed on this event loop while this wait was going on; the run goes on"
    )


class LoopWaits:
    """Waits for the ends of runs; ``ended`` says of each given run whether it has ended.

    ``connect`` gives an open connection of its own; ``channel`` the channel on which the end of a run is published.
    """

    def __init__(self, *, ended: Ended, connect: Callable[[], Awaitable[Any]], channel: Callable[[str], str]) -> None:
        self._ask, self._connect, self._channel = ended, connect, channel
        self._closed = False
        self._asking = asyncio.Lock()  # one connection is enough for all looks
        self._waits: dict[str, list[_Wait]] = {}  # by channel
        self._looking = False
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._subscribed: set[str] = set()
        self._fresh: list[str] = []  # channels that are now subscribed, and whose runs were not looked at since
        self._heard = True  # whether anything was heard since the last look

    async def wait(self, run_id: str, *, timeout: float | None) -> bool:
        """Return True once the run has ended, False when ``timeout`` seconds were not enough; raises ``RedisError``."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        wait = _Wait(run_id, loop.create_future())
        if not self._looking:  # of many that begin at once only one asks for its own run; the others, all together
            self._looking = wait.looked = True
            try:
                if (await self._ended([run_id]))[0]:
                    return True
            finally:
                self._looking = False
        self._add(wait)
        try:
            await asyncio.wait([wait.end], timeout=None if deadline is None else max(0.0, deadline - loop.time()))
            if wait.end.done():
                wait.end.result()
                return True
        finally:
            self._forget(wait)
        return not wait.looked and (await self._ended([run_id]))[0]

    async def _ended(self, run_ids: Sequence[str]) -> list[bool]:
        async with self._asking:
            return await self._ask(run_ids)

    async def close(self) -> None:
        """Close the connection; waits that go on end with an error."""
        self._closed = True
        for channel in list(self._waits):  # a task that is cancelled before its first step would tell nobody
            self._wake(channel, _closed())
        task = self._task
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _add(self, wait: _Wait) -> None:
        if self._closed:  # while its run was looked at
            raise _closed()
        self._waits.setdefault(self._channel(wait.run_id), []).append(wait)
        if self._task is None:
            # In a context of its own: what the first who waits has in his is nothing to the others.
            self._task = asyncio.create_task(self._work(), name="hephaestus-waits", context=Context())
        self._woken.set()

    def _forget(self, wait: _Wait) -> None:
        channel = self._channel(wait.run_id)
        others = [other for other in self._waits.get(channel, ()) if other is not wait]
        if others:
            self._waits[channel] = others
        else:
            self._waits.pop(channel, None)
            if not self._waits:
                self._woken.set()
        if not wait.end.cancel():
            wait.end.exception()  # it was told, and who waited may have been cancelled in the same moment

    async def _work(self) -> None:
        try:
            await self._serve()
        finally:
            # Nobody must wait for an ended task, whatever ended it: the next wait begins another.
            self._task = None
            self._drop_reader()
            connection, self._connection = self._connection, None
            for channel in list(self._waits):
                self._wake(channel, LostConnectionError("the task that listens for ends of runs has ended"))
            if connection is not None:
                await connection.disconnect(nowait=True)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        look_at, until = loop.time(), None
        while self._waits or until is None or loop.time() < until:
            until = None if self._waits else until or loop.time() + _LINGER
            self._woken.clear()
            try:
                await self._subscribe()
                fresh, self._fresh = self._fresh, []
                if loop.time() >= look_at:
                    look_at = await self._look()
                elif fresh:
                    await self._check(fresh)
                await self._sleep(look_at if until is None else min(look_at, until))
            except RedisError:
                await self._disconnect()
                await self._recover()

    async def _sleep(self, until: float) -> None:
        # Until there is something to do, or it is time to look.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._woken.wait()
        if self._reader is not None and self._reader.done():
            self._reader.result()  # raises what ended it

    async def _subscribe(self) -> None:
        """Subscribe to the ends of the awaited runs, and to no others."""
        wanted = set(self._waits)
        if self._connection is None:
            if not wanted:
                return
            self._connection, self._subscribed, self._heard = await self._connect(), set(), True
            self._reader = asyncio.create_task(self._read(self._connection), name="hephaestus-waits-reading")
            self._reader.add_done_callback(lambda _: self._woken.set())
        for command, channels in (
            ("SUBSCRIBE", wanted - self._subscribed),
            ("UNSUBSCRIBE", self._subscribed - wanted),
        ):
            if channels:
                await self._send(command, *channels)
        self._subscribed = wanted

    async def _send(self, *command: str) -> None:
        with cancellable():
            await self._connection.send_packed_command([pack(command)], check_health=False)

    async def _read(self, connection: Any) -> None:
        while True:
            message = await connection.read_response()
            self._heard = True
            match message:
                case [b"message", bytes() as channel, _]:
                    self._wake(channel.decode())
                case [b"subscribe", bytes() as channel, _]:
                    self._fresh.append(channel.decode())
                    self._woken.set()
                case _:
                    pass

    async def _look(self) -> float:
        """Ask whether the awaited runs have ended, and ping the connection; returns when to ask again."""
        if self._connection is not None:
            if not self._heard:
                raise LostConnectionError("the connection on which ends of runs are published was silent")
            self._heard = False
            await self._send("PING")
        channels = list(self._waits)
        await self._check(channels)
        return asyncio.get_running_loop().time() + LOOK + LOOK_EACH * len(channels)

    async def _check(self, channels: Sequence[str]) -> None:
        """Wake the waits whose runs have ended."""
        runs = {channel: self._waits[channel][0].run_id for channel in channels if channel in self._waits}
        names = list(runs)
        for start in range(0, len(names), SLICE):
            part = names[start : start + SLICE]
            asked = {channel: list(self._waits.get(channel, ())) for channel in part}
            for channel, ended in zip(part, await self._ended([runs[name] for name in part]), strict=True):
                for wait in asked[channel]:
                    wait.looked = True
                if ended:
                    self._wake(channel)

    def _wake(self, channel: str, error: Exception | None = None) -> None:
        for wait in self._waits.get(channel, ()):
            if wait.end.done():
                continue
            if error is None:
                wait.end.set_result(None)
            else:
                wait.end.set_exception(error)

    async def _recover(self) -> None:
        """The connection broke: waits go on if the server replies on another connection; else they end with the error."""
        channels = list(self._waits)
        try:
            await self._check(channels)
        except RedisError as reason:
            for channel in channels:
                self._wake(channel, reason)
        await asyncio.sleep(0.05)

    async def _disconnect(self) -> None:
        self._drop_reader()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    def _drop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        if reader.done():
            if not reader.cancelled():
                reader.exception()  # it was told already
        else:
            reader.cancel()
