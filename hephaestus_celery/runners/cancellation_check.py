"""Asks the store whether an attempt is still wanted, or its run was cancelled or has ended meanwhile."""

from __future__ import annotations

from hephaestus_celery.clock import SYSTEM_CLOCK, Clock
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.monkey_patches import patched, this_thread
from hephaestus_celery.storage.claims import Attempt
from hephaestus_celery.storage.port import Storage

ASK_NANOSECONDS = 1_000_000_000


class CancellationCheck:
    """Asks the store by renewing the lease: one small script says who holds the step, and whether its run has ended."""

    def __init__(self, storage: Storage, attempt: Attempt, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._storage = storage
        self._attempt = attempt
        self._clock = clock
        self._thread = this_thread()
        self._asked: int | None = None
        self._cancelled = False

    def is_cancelled(self) -> bool:
        """Whether the attempt is not wanted any more; asks at most once a second. False while the store is away."""
        now = self._clock.monotonic_ns()
        if not self._cancelled and (self._asked is None or now - self._asked >= ASK_NANOSECONDS):
            self._asked = now
            try:
                self._cancelled = not self.is_wanted()
            except StorageError:
                return False
        return self._cancelled

    def is_wanted(self) -> bool:
        """Ask now whether the attempt is wanted; ``StorageError`` when the store is away."""
        if not patched() or this_thread() == self._thread:
            return self._storage.renew([self._attempt], wanted=True)[0]
        # An async step asks from the thread of its loop, and a connection of greenlets belongs to the thread that made it.
        storage = self._storage.separate()
        try:
            return storage.renew([self._attempt], wanted=True)[0]
        finally:
            if storage is not self._storage:
                storage.close()
