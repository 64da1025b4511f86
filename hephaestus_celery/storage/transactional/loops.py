"""A store over transactions, for event loops: its calls are made by a few threads, and waits look now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from hephaestus_celery.storage.immediate import Immediate
from hephaestus_celery.storage.port import Storage

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4
_SHORTEST_PAUSE = 0.05  # seconds between two looks of a wait; each pause is longer than the last
_LONGEST_PAUSE = 1.0


class Threaded(Immediate):
    """An ``AsyncStorage`` for a store whose driver blocks. A store that need not, or can tell of ends, replaces it."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self._threads: ThreadPoolExecutor | None = None

    async def _call(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        self._threads = self._threads or ThreadPoolExecutor(_THREADS, thread_name_prefix="hephaestus-store")
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args, **named))

    async def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        pause = _SHORTEST_PAUSE
        while True:
            run = await self.load(run_id, steps=())
            if run is None or run.status.final:
                return True
            left = pause if deadline is None else deadline - loop.time()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)
