"""``Hephaestus.aio``: the calls of a runtime as coroutines, for event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from hephaestus_celery.client.bulk import AioBulk
from hephaestus_celery.client.cancel import AioCancels
from hephaestus_celery.client.delete import AioDeletes
from hephaestus_celery.client.events import AioStreamCalls
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.pauses import AioPausing
from hephaestus_celery.client.reads import AioReads
from hephaestus_celery.client.reruns import AioReruns
from hephaestus_celery.client.resume import AioResumes
from hephaestus_celery.client.runtimes import RUNTIMES, Runtime
from hephaestus_celery.client.start import AioStarts
from hephaestus_celery.client.start_many import AioManyStarts
from hephaestus_celery.client.timers import AioTimers
from hephaestus_celery.client.waits import AioWaits
from hephaestus_celery.clock import Chance
from hephaestus_celery.runners.publishing import PUBLISHER

_FLUSH_SECONDS = 5.0  # for which the end of a block waits for messages that are still to be sent


class AioHephaestus(
    AioStarts,
    AioManyStarts,
    AioResumes,
    AioTimers,
    AioCancels,
    AioPausing,
    AioReruns,
    AioDeletes,
    AioBulk,
    AioReads,
    AioWaits,
    AioStreamCalls,
):
    """The calls of a runtime as coroutines, which never block the event loop that awaits them.

    Each event loop has connections of its own. They are opened when they are first needed, and closed at the end of
    ``async with hephaestus.aio``, by :meth:`close`, or with the loop (as ``asyncio.run`` ends it). The runtime itself stays
    open: other loops and threads go on. Cancelling a call ends it at once; what it asked of the store may have been done.

    An instance that ``get`` or ``wait`` gives has all of its data, as nothing may be read later without an ``await``. One that
    ``list`` gives has none: accessing it is an error that says how to read it.
    """

    def __init__(
        self,
        hephaestus: Runtime,
        *,
        chance: Chance,
        means: Callable[[], Means],
        check_open: Callable[[], None],
    ) -> None:
        self.name = hephaestus.name
        self._hephaestus, self._chance = hephaestus, chance
        self._make, self._check = means, check_open
        self._of: dict[asyncio.AbstractEventLoop, Means] = {}

    async def __aenter__(self) -> Self:
        """For the block, workflow classes find this runtime before all others."""
        RUNTIMES.enter(self._hephaestus)
        return self

    async def __aexit__(self, *_: object) -> None:
        RUNTIMES.leave(self._hephaestus)
        await self.close()

    async def close(self) -> None:
        """Close the connections of the running event loop, once the messages of its starts are sent; a call opens them again."""
        means = self._of.pop(asyncio.get_running_loop(), None)
        if means is None:
            return
        sent = None if PUBLISHER.is_idle else PUBLISHER.submit(lambda: None)
        if sent is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await asyncio.wrap_future(sent)
        await means.storage.close()

    def __repr__(self) -> str:
        return f"<Hephaestus {self.name!r}, its aio>"

    def _means(self) -> Means:
        loop = asyncio.get_running_loop()
        means = self._of.get(loop)
        if means is None:
            for other in [other for other in list(self._of) if other.is_closed()]:
                self._of.pop(other, None)
            means = self._of[loop] = self._make()
        means.catch_up()
        return means

    def _check_open(self) -> None:
        self._check()
