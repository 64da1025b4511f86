"""Takes the attempt of a pool process that has died at once, before its lease expires.

For lost workers see ``core/execution/due.py``.

Celery checks for exited processes when a pipe closes. But a killed process closes its files a moment before the system
reports its end. If the check comes too early, Celery checks again only after five seconds (`AsynPool.timers`). Measured with
plain tasks: 5 of 8 kills were noticed after 4.8 s or more, the others within 45 ms. So Celery is made to check more often.

The same timer also wakes the loop for pools of threads. Before Celery 5.6 a late acknowledgement from a thread did not wake
the loop, so the next message waited.
"""

from __future__ import annotations

from typing import Any

LOOK_SECONDS = 0.25


class PoolWatch:
    """Has a worker's event loop look for exited pool processes every :data:`LOOK_SECONDS`.

    Each connection of the worker starts it again: before Celery 5.7 a reconnect clears the loop's timers.
    """

    def __init__(self) -> None:
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Begin for a connected consumer; a repetition changes nothing.

        In pools without processes it only wakes the loop.
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
