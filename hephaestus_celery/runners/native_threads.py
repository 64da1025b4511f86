"""Threads of the operating system, also where gevent or eventlet have replaced those of Python.

A greenlet that computes holds up all others of its thread; what must go on meanwhile needs a thread that is one. What
such a thread shares with others is guarded by locks that are real too, held for no longer than nothing waits.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def patched() -> bool:
    """Whether Python's threads are greenlets in this process."""
    return _library() is not None


def original(module: str, name: str) -> Any:
    """What a module of Python's own has under a name when nobody has put anything else there."""
    library = _library()
    if library is None:
        return getattr(sys.modules[module] if module in sys.modules else __import__(module), name)
    if library is sys.modules.get("gevent.monkey"):
        return library.get_original(module, name)
    return getattr(library.original(module), name)


def _library() -> Any:
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return gevent
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return eventlet
    return None


class Flag:
    """Something that happens once, and that one thread waits for; a signal interrupts the wait."""

    def __init__(self) -> None:
        self._gate = original("_thread", "allocate_lock")()
        self._gate.acquire()
        self._set = False

    @property
    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._set

    def set(self) -> None:
        """Let it happen; again is the same as once."""
        self._set = True
        with suppress(RuntimeError):  # where it had been set
            self._gate.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds; whether it has happened. Holds up all greenlets of the thread."""
        if not self._set and self._gate.acquire(timeout=-1 if timeout is None else max(0.0, min(timeout, _LONGEST))):
            self._gate.release()
        return self._set


class Thread:
    """A daemon thread that runs ``target`` once."""

    def __init__(self, target: Callable[[], None], *, name: str) -> None:
        self._target = target
        self._name = name
        self._ended = Flag()

    def start(self) -> None:
        """Begin; ``RuntimeError`` where the system gives no more threads."""
        if patched():
            original("_thread", "start_new_thread")(self._main, ())
        else:
            threading.Thread(target=self._main, name=self._name, daemon=True).start()

    def is_alive(self) -> bool:
        """Whether it has not come to its end, in this process."""
        return not self._ended.is_set

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        self._ended.wait(timeout)

    def _main(self) -> None:
        try:
            self._target()
        finally:
            self._ended.set()


_LONGEST = _thread.TIMEOUT_MAX
