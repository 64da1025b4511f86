"""Signs of life: while a process executes steps, a thread of it renews their leases."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.base import Lease, Storage

logger = logging.getLogger("hephaestus_celery")


class LeaseKeeper:
    """Renews the leases that are held, three times per lease; one call to the store for all of them.

    The thread starts with the first lease of a process (a forked child starts its own) and has its own connections. A
    lease that was lost is not renewed any more: whoever took it has fenced its step off.
    """

    def __init__(self, storage: Storage, *, lease: timedelta) -> None:
        self._storage = storage
        self._interval = lease.total_seconds() / 3
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._held: dict[Lease, None] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def hold(self, lease: Lease) -> Generator[None]:
        """Keep a lease while the block runs."""
        if self._pid != os.getpid():
            self._reset()  # a child has none of its parent's threads, and may have got the lock as it was
        with self._lock:
            self._held[lease] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hephaestus-leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(lease, None)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _run(self) -> None:
        storage = self._storage.separate()
        away = False
        while not self._closed.wait(min(self._interval, 1.0) if away else self._interval):
            with self._lock:
                leases = list(self._held)
            if not leases:
                continue
            try:
                kept = storage.renew(leases)
            except StorageError as error:
                if not away:
                    logger.warning("leases of %d step(s) can't be renewed: %s", len(leases), error)
                away = True
                continue
            away = False
            with self._lock:
                for lease, is_kept in zip(leases, kept, strict=True):
                    if not is_kept:
                        self._held.pop(lease, None)
        if storage is not self._storage:
            storage.close()
