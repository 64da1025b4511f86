"""What shows whether an event loop goes on, and a server that answers nothing for a while."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time

from stillness import stillness

LONGEST_GAP = 0.05
"""Seconds of an event loop's thread that no call may take at a time."""


class Heart:
    """Beats on an event loop, and measures what is between two beats: how long its thread stood still, and how long it worked.

    A call that blocks takes its time limit of the first; a machine that does other things makes neither longer. Meanwhile
    the garbage collection leaves out what the process has already: all that a process of tests holds takes it longer than
    any call.
    """

    def __init__(self):
        self.still = self.busy = 0.0

    async def __aenter__(self):
        gc.freeze()
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        gc.unfreeze()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _beat(self):
        still, work = stillness(), time.thread_time()
        while True:
            await asyncio.sleep(0.002)
            then, done = stillness(), time.thread_time()
            self.still, self.busy = max(self.still, then - still), max(self.busy, done - work)
            still, work = then, done


@contextlib.contextmanager
def frozen(server):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)
