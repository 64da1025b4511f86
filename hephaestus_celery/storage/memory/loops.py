"""The memory store for event loops: a call of it takes no time, and each end is told to the loops that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from hephaestus_celery.storage.immediate import Immediate
from hephaestus_celery.storage.port import Storage

Telling = Callable[[str, Callable[[], None]], AbstractContextManager[None]]
"""``with telling(run_id, tell)``: in the block, ``tell`` is called when the run has ended, at once or by who ends it."""

_LOOK_SECONDS = 0.02  # between two looks at the event stream


class MemoryLoops(Immediate):
    """An ``AsyncStorage`` of the memory store; a wait is a future, and no thread."""

    def __init__(self, storage: Storage, *, telling: Telling) -> None:
        super().__init__(storage)
        self._telling = telling

    async def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()

        def note() -> None:
            if not end.done():
                end.set_result(None)

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(note)

        with self._telling(run_id, tell):
            await asyncio.sleep(0)  # an end that has come is noted by now
            await asyncio.wait([end], timeout=timeout)
        return end.done()

    async def await_events(self, partition: int, *, newest: str, timeout: float) -> bool:
        deadline = asyncio.get_running_loop().time() + timeout
        while not self._storage.await_events(partition, newest=newest, timeout=0):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True
