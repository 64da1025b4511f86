"""The event loop of ``async def`` steps: one per process, for as long as the process lives.

On every pool it has an operating system thread of its own. Clients are bound to their loop, so a client that one step
keeps stays usable for the next. Several steps run on the loop at once. A step that waits there blocks neither a worker's
own loop nor the greenlets of gevent or eventlet.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import selectors
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hephaestus_celery.exceptions import AttemptLostError
from hephaestus_celery.runners import native_threads as native
from hephaestus_celery.runners.monkey_patches import original, patched

logger = logging.getLogger("hephaestus_celery")

_FAREWELL_SECONDS = 1.0
"""How long a cancelled step may take to clean up before the next one begins."""
_ENDLESS = 3600.0  # seconds of one wait of the selector


def run(awaitable: Awaitable[object], *, seconds: float | None) -> object:
    """Await something on the loop of this process, in the contextvars of the caller, and return its result.

    After ``seconds`` it is cancelled, and ``AttemptLostError`` is raised. It is also cancelled when the caller is interrupted.
    """
    loop = _loops.get(os.getpid())
    if loop is None:
        # After a fork, the child leaves the parent's loop alone: its thread is missing here, and its files are shared.
        made = _Loop()
        loop = _loops.setdefault(os.getpid(), made)
        if loop is not made:
            made.discard()
    return loop.run(awaitable, seconds=seconds)


class _Loop:
    """A running event loop, and the thread that runs it."""

    def __init__(self) -> None:
        self._loop = _NativeLoop() if patched() else asyncio.new_event_loop()
        self._runs: dict[str, object] = {}

    def discard(self) -> None:
        """Close a loop that was never used."""
        self._loop.close()

    def run(self, awaitable: Awaitable[object], *, seconds: float | None) -> object:
        if not self._runs:  # of threads that start at the same time, only the first runs it
            native.Thread(self._live, name="hephaestus-asyncio").start()
        ended = _GreenSignal() if patched() else _Signal()
        call = _Call(awaitable, ended)
        context = contextvars.copy_context()
        self._loop.call_soon_threadsafe(lambda: call.begin(self._loop, context))
        try:
            in_time = ended.wait(seconds)
        except BaseException:
            self._cancel(call, ended)
            raise
        else:
            if not in_time:
                self._cancel(call, ended)
                raise AttemptLostError("time limit exceeded")
        finally:
            ended.close()
        return call.result()

    def _cancel(self, call: _Call, ended: _Signal | _GreenSignal) -> None:
        self._loop.call_soon_threadsafe(call.cancel)
        ended.wait(_FAREWELL_SECONDS)

    def _live(self) -> None:
        mine = object()
        if self._runs.setdefault("by", mine) is not mine:
            return
        # A task of a step may raise SystemExit or KeyboardInterrupt: asyncio passes these on, out of the loop.
        while True:
            try:
                self._loop.run_forever()
            except BaseException:
                logger.exception("a task that a step left behind has failed; the event loop goes on")


class _Call:
    """One awaitable on the loop, and its result."""

    def __init__(self, awaitable: Awaitable[object], ended: _Signal | _GreenSignal) -> None:
        self._awaitable = awaitable
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._value: object = None
        self._error: BaseException | None = None
        self._cancelled = False

    def begin(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        self._task = loop.create_task(self._await(), context=context)
        self._task.add_done_callback(self._end)
        if self._cancelled:
            self._task.cancel()

    def cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def result(self) -> object:
        if self._error is not None:
            raise self._error
        return self._value

    async def _await(self) -> None:
        # All errors here belong to the step, so none may reach the loop.
        try:
            self._value = await self._awaitable
        except BaseException as error:  # noqa: BLE001 - raised to the caller
            self._error = error

    def _end(self, _: asyncio.Task[None]) -> None:
        if asyncio.iscoroutine(self._awaitable):
            self._awaitable.close()  # of a task that was cancelled before it began
        self._ended.set()


class _Signal(native.Flag):
    """Signals to a thread that a call has ended; a signal of the process interrupts its wait."""

    def close(self) -> None:
        """Nothing is open."""


class _GreenSignal:
    """Signals to a greenlet that a call has ended, by a byte on a socket that the hub watches. Others run while it waits."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._lock = original("_thread", "allocate_lock")()
        self._open = True

    def set(self) -> None:
        """Called once, from the thread of the loop."""
        with self._lock:  # a closed descriptor may belong to another file by now
            if self._open:
                os.write(self._far.fileno(), b"\0")

    def wait(self, timeout: float | None) -> bool:
        """Wait at most ``timeout`` seconds; True if the call has ended."""
        self._near.settimeout(timeout)
        try:
            return bool(self._near.recv(1))
        except TimeoutError:
            return False

    def close(self) -> None:
        """Close the socket; a later signal is ignored."""
        with self._lock:
            self._open = False
            self._near.close()
            self._far.close()


class _NativeLoop(asyncio.SelectorEventLoop):
    """A loop whose thread waits in the operating system, and whose helpers are threads of the operating system."""

    def __init__(self) -> None:
        super().__init__(_Poll())

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run on a new thread by default: in a patched process, Python's pool has greenlets that nobody runs."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        future: asyncio.Future[Any] = self.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if not future.done():
                future.set_result(value) if error is None else future.set_exception(error)

        def work() -> None:
            try:
                value, error = func(*args), None
            except Exception as raised:  # noqa: BLE001 - raised to who awaits it
                value, error = None, raised
            self.call_soon_threadsafe(settle, value, error)

        native.Thread(work, name="hephaestus-asyncio-helper").start()
        return future


class _Poll(selectors.BaseSelector):
    """A selector over the system's own poll(): patches of sockets replace or remove those of Python."""

    def __init__(self) -> None:
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._poll: Any = original("select", "poll")()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        number = _number(fileobj)
        if number in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        key = self._keys[number] = selectors.SelectorKey(fileobj, number, events, data)
        self._poll.register(number, _mask(events))
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self._keys.pop(_number(fileobj))
        self._poll.unregister(key.fd)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        longest = _ENDLESS if timeout is None else min(max(0.0, timeout), _ENDLESS)
        # Rounded up, since a timer of less than a millisecond would make the loop poll without pause.
        ready = self._poll.poll(int(longest * 1000 + 0.999))
        found = [(self._keys[number], _events(mask)) for number, mask in ready if number in self._keys]
        return [(key, events & key.events) for key, events in found if events & key.events]

    def close(self) -> None:
        self._keys.clear()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return _ByFile(self._keys)


class _ByFile(dict[Any, selectors.SelectorKey]):
    """Keys by the number of the file, also found by the file object."""

    def __missing__(self, fileobj: Any) -> selectors.SelectorKey:
        number = _number(fileobj)
        if number == fileobj or number not in self:
            raise KeyError(fileobj)
        return self[number]


_POLLIN, _POLLOUT = 1, 4


def _number(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


def _mask(events: int) -> int:
    return (_POLLIN if events & selectors.EVENT_READ else 0) | (_POLLOUT if events & selectors.EVENT_WRITE else 0)


def _events(mask: int) -> int:
    # Readers and writers both see an error or the end.
    return (selectors.EVENT_READ if mask & ~_POLLOUT else 0) | (selectors.EVENT_WRITE if mask & ~_POLLIN else 0)


_loops: dict[int, _Loop] = {}  # by process id; a forked child also sees its parent's
