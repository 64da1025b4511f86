"""The event loops of this process that use one storage, each with connections of its own, which are closed with the loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from hephaestus_celery.storage.redis.loop_connections import LoopConnections
from hephaestus_celery.storage.redis.loop_waits import LoopWaits


@dataclass(slots=True, kw_only=True)
class OfLoop:
    """What one event loop has of a storage."""

    connections: LoopConnections
    waits: LoopWaits
    life: AsyncGenerator[None, None] | None = field(default=None)

    async def close(self) -> None:
        """Close the connections; waits that go on end with an error."""
        await self.waits.close()
        await self.connections.close()


class Make(Protocol):
    """Makes what the running event loop has of a storage; opens nothing yet."""

    def __call__(self) -> OfLoop: ...


class Loops:
    """Gives the running event loop what it has of a storage, and makes it when it is first asked for.

    ``asyncio.run`` and all who end a loop properly close the asynchronous generators of the loop: so one of ours, which is
    suspended as long as the loop lives, closes the connections at its end. A forked process leaves those of its parent alone:
    closing one there would take the parent's loop away from its own sockets.
    """

    def __init__(self, make: Make) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._of: dict[asyncio.AbstractEventLoop, OfLoop] = {}
        self._inherited: list[object] = []

    def here(self) -> OfLoop:
        """What the running event loop has."""
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            self._leave_to_parent()
        return self._of.get(loop) or self._add(loop)

    async def close(self) -> None:
        """Close what the running event loop has; its next call opens connections again."""
        found = self._of.get(asyncio.get_running_loop()) if self._pid == os.getpid() else None
        if found is not None and found.life is not None:
            await found.life.aclose()

    def _leave_to_parent(self) -> None:
        self._lock = threading.Lock()
        self._inherited.append(self._of)
        self._of, self._pid = {}, os.getpid()

    def _add(self, loop: asyncio.AbstractEventLoop) -> OfLoop:
        made = self._make()
        made.life = self._live(loop, made)
        # Its first step is where the loop takes note of it; it suspends at once, so nothing has to be awaited for that.
        _begin(made.life)
        with self._lock:
            for other in [other for other in self._of if other.is_closed()]:
                del self._of[other]
            self._of[loop] = made
        return made

    async def _live(self, loop: asyncio.AbstractEventLoop, made: OfLoop) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._of.pop(loop, None)
            await made.close()


def _begin(life: AsyncGenerator[None, None]) -> None:
    step = life.__anext__()
    try:
        step.send(None)
    except StopIteration:
        return
