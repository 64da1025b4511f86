"""The scheduler lock, as one scheduler sees it: who holds it, and whether that scheduler is still alive."""

from __future__ import annotations

from hephaestus_celery.clock import SYSTEM_CLOCK, Clock
from hephaestus_celery.storage.redis.steady_clock import LOCK_SECONDS


class SchedulerLock:
    """The view that one scheduler has of a partition's scheduler lock.

    A lifetime on the server's clock can't show whether the holder is lost, since that clock may be set. So each other
    scheduler watches by its own clock whether the beat of the lock moves.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self.acknowledged = ""
        """The last operation whose reply has arrived."""
        self._beat: str | None = None
        self._since = 0

    @property
    def expired_beat(self) -> str | None:
        """The beat of another scheduler's lock that has not moved for too long; None while that lock is valid."""
        if self._beat is None or self._clock.elapsed_ns() - self._since < LOCK_SECONDS * 1e9:
            return None
        return self._beat

    def acquire(self, operation: str) -> None:
        """This scheduler holds the lock, and has received what this operation handed over."""
        self.acknowledged, self._beat = operation, None

    def observe(self, beat: str) -> None:
        """Another scheduler holds the lock, at this beat."""
        if beat != self._beat:
            self._beat, self._since = beat, self._clock.elapsed_ns()

    def forget(self) -> None:
        """The store was out of reach: the holder could not move its beat either."""
        self._beat = None
