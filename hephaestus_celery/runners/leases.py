"""Lease renewal: while a process holds attempts, a thread renews their leases."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners import native_threads as native
from hephaestus_celery.storage.claims import Attempt
from hephaestus_celery.storage.port import Storage

logger = logging.getLogger("hephaestus_celery")


class LeaseKeeper:
    """Renews the leases that this process holds, three times per lease, with one call to the store for all of them.

    The thread starts with the first lease of a process (a forked child starts its own) and has its own connections. No
    error ends it, since the steps in execution depend on it. On every pool it is a thread of the operating system, so a
    step that computes without a pause keeps its lease. A lost lease is not renewed any more: another process has taken
    the attempt, with a new fence. Without ``renews`` there is no thread: nobody may take an attempt away then.
    """

    def __init__(self, storage: Storage, *, lease: timedelta, renews: bool = True) -> None:
        self._storage, self._renews = storage, renews
        self._interval = lease.total_seconds() / 3
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        # Without a lock: a signal may interrupt its holder anywhere. Each use of the dictionary is one operation.
        self._held: dict[str, Attempt] = {}  # by their fences
        self._thread: native.Thread | None = None
        self._closed = native.Flag()

    def keep(self, attempt: Attempt) -> None:
        """Renew the lease of an attempt from now on, until ``let_go``."""
        if self._pid != os.getpid():
            self._reset()  # a child has none of its parent's threads
        self._held[attempt.fence] = attempt
        if self._renews and (self._thread is None or not self._thread.is_alive()):
            self._begin()

    def let_go(self, attempt: Attempt) -> None:
        """Stop renewing a lease; a repetition changes nothing."""
        self._held.pop(attempt.fence, None)

    @contextmanager
    def hold(self, attempt: Attempt) -> Generator[None]:
        """Renew a lease while the block runs."""
        self.keep(attempt)
        try:
            yield
        finally:
            self.let_go(attempt)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _begin(self) -> None:
        # If two threads start at the same time, the first one ends when it sees the second.
        self._thread = thread = native.Thread(lambda: self._run(thread), name="hephaestus-leases")
        try:
            thread.start()
        except RuntimeError as error:
            self._thread = None
            logger.warning("no thread can be started to renew leases (%s); the next step tries again", error)

    def _run(self, thread: native.Thread) -> None:
        storage: Storage | None = None
        away = False
        while not self._closed.wait(min(self._interval, 1.0) if away else self._interval):
            if self._thread is not thread:
                break
            attempts = list(self._held.values())
            if not attempts:
                continue
            try:
                if storage is None:
                    storage = self._storage.separate()
                self._renew(storage, attempts)
                away = False
            except StorageError as error:
                if not away:
                    logger.warning("leases of %d step(s) can't be renewed: %s", len(attempts), error)
                away = True
            except BaseException:
                if not away:
                    logger.exception("leases of %d step(s) can't be renewed; that is tried again", len(attempts))
                away = True
        if storage is not None and storage is not self._storage:
            storage.close()

    def _renew(self, storage: Storage, attempts: list[Attempt]) -> None:
        for attempt, is_kept in zip(attempts, storage.renew(attempts), strict=True):
            if not is_kept:
                self._held.pop(attempt.fence, None)
