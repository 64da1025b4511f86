"""Threads of the operating system, also where gevent or eventlet have replaced those of Python.

A greenlet that computes blocks all others of its thread. Work that must go on meanwhile needs a real thread. Real locks guard
the data that such a thread shares, and no thread holds one while it waits.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from contextlib import suppress

from hephaestus_celery.runners import log_locks
from hephaestus_celery.runners.monkey_patches import original, patched, patched_by_eventlet


class Flag:
    """A flag that is set once, and that one thread waits for; a signal interrupts the wait."""

    def __init__(self) -> None:
        self._gate = original("_thread", "allocate_lock")()
        self._gate.acquire()
        self._set = False

    @property
    def is_set(self) -> bool:
        """Whether the flag is set."""
        return self._set

    def set(self) -> None:
        """Set the flag; a repetition changes nothing."""
        self._set = True
        with suppress(RuntimeError):  # it was set before
            self._gate.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds; True if the flag is set. Blocks all greenlets of the thread."""
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
        """Start; ``RuntimeError`` if the system has no more threads."""
        if patched_by_eventlet():
            log_locks.replace()
        if patched():
            original("_thread", "start_new_thread")(self._main, ())
        else:
            threading.Thread(target=self._main, name=self._name, daemon=True).start()

    def is_alive(self) -> bool:
        """Whether it runs, in this process."""
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
