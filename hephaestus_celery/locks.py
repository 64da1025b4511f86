"""Locks with a longest wait: threads and greenlets take turns, and none waits for longer than a while."""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

LONGEST_WAIT_SECONDS = 2.0


def kind_of_threads() -> object:
    """What distinguishes threads from greenlets: gevent and eventlet put their own in its place."""
    return _thread.allocate_lock


class Turns:
    """Turns that threads, or greenlets, take; not a lock: nobody waits for one for longer than ``longest_wait`` seconds.

    So neither a fork nor a signal handler, nor one who is kept in its turn by a server that is silent, keeps others for long.
    """

    def __init__(self, longest_wait: float = LONGEST_WAIT_SECONDS) -> None:
        self._longest_wait = longest_wait
        self._made: tuple[object, Any] = (None, None)

    @contextmanager
    def turn(self) -> Generator[None]:
        """Run the block when it is one's turn, or when one has waited for long enough."""
        lock = self._lock()
        taken = lock.acquire(timeout=self._longest_wait)
        if not taken and self._made[1] is lock:
            self._made = (None, None)  # who has it may never give it back: a signal may have struck there
        try:
            yield
        finally:
            if taken:
                lock.release()

    @contextmanager
    def if_free(self) -> Generator[bool]:
        """Run the block at once; gives whether that is in one's turn."""
        lock = self._lock()
        taken = lock.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                lock.release()

    def _lock(self) -> Any:
        # A forked process has one that may be held for ever; and one of threads would stop all greenlets.
        place = os.getpid(), kind_of_threads()
        if self._made[0] != place:
            self._made = place, threading.RLock()
        return self._made[1]
