"""Makes it safe to fork a worker's main process while other threads work in it.

A child has only the thread that forked. A lock that another thread held at that moment is never released there: that of a
module being imported, or of a property that Celery or kombu was making. A child that needs it hangs, and keeps its lease.
The scheduler works just when a pool process has died and another is forked. So a fork waits until such threads are between
two pieces of work, but never for long: a thread that waits for a server holds nothing that a child needs.
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
    """From now on forks of this process wait; again is the same as once."""
    global _is_registered  # noqa: PLW0603 - hooks can't be taken back, and are needed once in a process
    if not _is_registered and sys.platform != "win32":
        _is_registered = True
        os.register_at_fork(before=_wait, after_in_parent=_go_on)


def _wait() -> None:
    _FORKING.stack = ExitStack()
    _FORKING.stack.enter_context(_TURNS.turn())


def _go_on() -> None:
    # Not in the child: it has turns of its own.
    _FORKING.stack.close()
