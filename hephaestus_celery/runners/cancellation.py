"""Whether an attempt is still waited for."""

from __future__ import annotations

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners import native_threads as native
from hephaestus_celery.storage.claims import Lease
from hephaestus_celery.storage.port import Storage

ASK_NANOSECONDS = 1_000_000_000


class Waited:
    """Asks the store by a sign of life: it says who holds the step, and whether its run has ended, in one small script."""

    def __init__(self, storage: Storage, lease: Lease) -> None:
        self._storage = storage
        self._lease = lease
        self._thread = _thread()
        self._asked: int | None = None
        self._over = False

    def is_over(self) -> bool:
        """Whether nobody waits for it; asked at most once a second, and False while the store is away."""
        now = SYSTEM_CLOCK.monotonic_ns()
        if not self._over and (self._asked is None or now - self._asked >= ASK_NANOSECONDS):
            self._asked = now
            try:
                self._over = not self._ask()
            except StorageError:
                return False
        return self._over

    def ask(self) -> bool:
        """Whether it is waited for, now; ``StorageError`` when the store is away."""
        return self._ask()

    def _ask(self) -> bool:
        if not native.patched() or _thread() == self._thread:
            return self._storage.renew([self._lease])[0]
        # An async step, on the thread of its loop: connections of greenlets belong to the thread that has made them.
        storage = self._storage.separate()
        try:
            return storage.renew([self._lease])[0]
        finally:
            if storage is not self._storage:
                storage.close()


def _thread() -> int:
    return native.original("_thread", "get_ident")()
