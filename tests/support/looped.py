"""The calls of ``aio`` behind the calls without: each is awaited on an event loop of its own, on a thread beside.

So what is tested of the blocking calls is tested of their twins too.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import Future
from contextvars import copy_context

from hephaestus_celery import Hephaestus
from hephaestus_celery.client.aio import AioHephaestus
from hephaestus_celery.storage.async_port import AsyncStorage


class Loop:
    """An event loop on a thread; ``run`` awaits a coroutine there, in the caller's context."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="looped", daemon=True)
        self._thread.start()

    def run(self, coroutine):
        if self.loop.is_closed():
            return asyncio.run(coroutine)
        future = Future()
        context = copy_context()

        async def awaited():
            try:
                future.set_result(await coroutine)
            except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
                future.set_exception(error)

        self.loop.call_soon_threadsafe(lambda: self.loop.create_task(awaited(), context=context))
        return future.result()

    @property
    def is_here(self):
        """Whether the caller is on the thread of the loop."""
        return threading.current_thread() is self._thread

    def close(self):
        """End the loop as ``asyncio.run`` does."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._closed.set)
        self._thread.join()

    def _serve(self):
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._closed.wait())


def calls_of(kind):
    """The names of the coroutines that a class of calls has, but for what ends it."""
    found = inspect.getmembers(kind, inspect.iscoroutinefunction)
    return [name for name, _ in found if not name.startswith("_") and name != "close"]


class LoopedHephaestus(Hephaestus):
    """A runtime whose calls are those of its ``aio``."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.loop = Loop()

    def close(self):
        super().close()
        self.loop.close()


def _looped(name):
    blocking = getattr(Hephaestus, name)

    def call(self, *args, **options):
        if self.loop.is_here:  # a handler or a storage of a test calls from within a call
            return blocking(self, *args, **options)
        return self.loop.run(getattr(self.aio, name)(*args, **options))

    return call


for _name in calls_of(AioHephaestus):
    setattr(LoopedHephaestus, _name, _looped(_name))


class LoopedStorage:
    """A storage whose calls for clients are those of its ``aio()``."""

    def __init__(self, storage):
        self._storage, self._loop = storage, Loop()
        for name in calls_of(AsyncStorage):
            setattr(self, name, self._looped(name))

    def __getattr__(self, name):
        return getattr(self._storage, name)

    @property
    def __class__(self):
        return type(self._storage)  # for who looks past the port

    def is_one_with(self, other):
        return self._storage.is_one_with(getattr(other, "_storage", other))

    def close(self):
        self._loop.close()
        self._storage.close()

    def _looped(self, name):
        def call(*args, **options):
            return self._loop.run(getattr(self._storage.aio(), name)(*args, **options))

        return call
