"""Makes it safe to fork a worker's main process while other threads work in it.

A child has only the thread that forked. If another thread held a lock at that moment, the child never gets it: the lock of
an import, or of a property of Celery or kombu. A child that needs it hangs, and keeps its lease. The scheduler is at work
just when a pool process has died and another is forked. So a fork waits until such threads pause, but never for long: a
thread that waits for a server holds no lock that a child needs.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import AbstractContextManager, ExitStack

from hephaestus_celery.locks import Turns

MAX_DELAY_SECONDS = 0.5

_TURNS = Turns(MAX_DELAY_SECONDS)
_FORKING = threading.local()
_is_registered = False


def no_forks() -> AbstractContextManager[None]:
    """Have forks wait while the block runs."""
    return _TURNS.turn()


def delay_forks() -> None:
    """Make forks of this process wait from now on; a repetition changes nothing."""
    global _is_registered  # noqa: PLW0603 - hooks can't be taken back, and are needed once in a process
    if not _is_registered and sys.platform != "win32":
        _is_registered = True
        os.register_at_fork(before=_wait, after_in_parent=_go_on)


def _wait() -> None:
    _FORKING.stack = ExitStack()
    _FORKING.stack.enter_context(_TURNS.turn())


def _go_on() -> None:
    # Only in the parent: the child has a lock of its own.
    _FORKING.stack.close()
