"""A process of a worker's pool has died: its attempt is taken at once, before its lease expires.

For lost workers see ``core/execution/due.py``.

Celery checks when the pipe of a process closes; but a process that is killed closes its files a moment before it can be
waited for. When the check comes too early, Celery checks again only after five seconds (`AsynPool.timers`). Measured with
plain tasks: 5 of 8 kills were noticed after 4.8 s or more, the others within 45 ms. So Celery is made to check more often.

The same timer keeps the loop turning for pools of threads: before Celery 5.6 a late acknowledgement from a thread did not
wake it, and the next message waited until something else did.
"""

from __future__ import annotations

from typing import Any

LOOK_SECONDS = 0.25


class PoolWatch:
    """Has a worker's event loop look for exited pool processes every :data:`LOOK_SECONDS`.

    It is started anew with each connection of the worker: before Celery 5.7 a reconnect clears the loop's timers.
    """

    def __init__(self) -> None:
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Begin for a consumer that is connected; again is the same as once.

        Pools without processes have nothing to look for; their loop is only woken.
        """
        self.stop()
        hub = getattr(consumer, "hub", None)
        pool = getattr(getattr(consumer, "pool", None), "_pool", None)
        if hub is not None:
            self._timer = hub.call_repeatedly(LOOK_SECONDS, getattr(pool, "maintain_pool", _nothing))

    def stop(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _nothing() -> None:
    pass
