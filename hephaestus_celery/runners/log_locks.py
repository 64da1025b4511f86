"""Locks of ``logging`` that greenlets of eventlet and threads of the operating system can share.

eventlet turns the locks of Python into its own, whose waiting greenlets are woken by the thread that gives the lock back. No thread
can go on with a greenlet of another one: who waits for a log handler in a worker, while a step on the event loop writes to it, would
wait for ever (https://github.com/eventlet/eventlet/issues/432). The locks of gevent may be shared.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from hephaestus_celery.runners.monkey_patches import original, this_thread

_LONGEST_PAUSE = 0.01  # seconds until a greenlet looks again


class LogLock:
    """A reentrant lock. A greenlet that waits for it lets the others of its thread run; other threads wait for it as a whole."""

    def __init__(self, before: Any, *, greenlets_of: int) -> None:
        """``before``: the lock in whose place it stands; who has that one gives it back here.

        ``greenlets_of``: the thread whose greenlets take turns.
        """
        self._before = before
        self._greenlets_of = greenlets_of
        self._eventlet: Any = sys.modules["eventlet"]
        self._at_fork_reinit()

    def _at_fork_reinit(self) -> None:
        """Be free, as ``logging`` asks in a forked child."""
        self._lock = original("_thread", "allocate_lock")()
        self._owner: object = None
        self._entered = 0

    def acquire(self) -> bool:
        """Wait for the lock; who has it already does not wait."""
        here = self._eventlet.getcurrent()
        if self._owner is not here:
            self._wait()
            self._owner = here
        self._entered += 1
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._owner is not self._eventlet.getcurrent():
            self._before.release()
            return
        self._entered -= 1
        if not self._entered:
            self._owner = None
            self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _wait(self) -> None:
        if this_thread() != self._greenlets_of:
            self._lock.acquire()
            return
        pause = 0.0
        while not self._lock.acquire(blocking=False):
            self._eventlet.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause + 0.0001)


def replace() -> None:
    """Replace the locks of ``logging`` and of its handlers, those to come included; a repetition changes nothing.

    Called by a greenlet, before it starts a thread of the operating system.
    """
    holders: dict[str, Any] = logging.__dict__  # it has no public names for its locks
    if isinstance(holders["_lock"], LogLock):
        return
    thread = this_thread()
    made_by_python = logging.Handler.createLock

    def create_lock(self: logging.Handler) -> None:
        made_by_python(self)
        replace_lock(self)

    def replace_lock(handler: Any) -> None:
        if getattr(handler, "lock", None) is not None:  # some handlers have none
            handler.lock = LogLock(handler.lock, greenlets_of=thread)

    logging.Handler.createLock = create_lock
    for reference in holders["_handlerList"]:
        replace_lock(reference())
    holders["_lock"] = LogLock(holders["_lock"], greenlets_of=thread)
