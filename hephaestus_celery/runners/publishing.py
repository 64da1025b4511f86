"""Publishing for event loops: one thread of this process does what would block them, in the order of asking.

kombu has no calls for event loops. A start is over when its state is stored, so nobody waits here for a message to be sent.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger("hephaestus_celery")

MOST_PENDING = 10_000
"""The most calls that wait for the thread; of messages beyond them, the scheduler sends those that are missing."""
_IDLE_SECONDS = 5.0  # for which the thread waits for more
_EXIT_SECONDS = 5.0  # for which the end of the process waits for calls that are still pending

_on_loop: ContextVar[bool] = ContextVar("hephaestus_on_loop", default=False)


def must_not_block() -> bool:
    """Whether this code runs for an event loop, and must leave to :data:`PUBLISHER` what takes a connection."""
    return _on_loop.get()


@contextmanager
def not_blocking() -> Generator[None]:
    """Within the block, :func:`must_not_block`."""
    token = _on_loop.set(True)
    try:
        yield
    finally:
        _on_loop.reset(token)


class Publisher:
    """Runs calls one after the other on a thread of its own, each in the context (:mod:`contextvars`) of its caller.

    The thread begins with the first call, and ends when it has had nothing to do for a while. A forked process has its own.
    """

    def __init__(self) -> None:
        self._begin()

    def submit(self, call: Callable[[], T]) -> Future[T] | None:
        """Have a call made; None if too many are waiting, so that this one is not made at all."""
        if self._pid != os.getpid():
            self._begin()
        future: Future[T] = Future()
        context = copy_context()
        with self._lock:
            if self._calls.qsize() >= MOST_PENDING:
                return None
            self._calls.put((future, lambda: context.run(_blocking, call)))
            self._done.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hephaestus-publisher", daemon=True)
                self._thread.start()
        return future

    def post(self, call: Callable[[], object], *, what: str) -> None:
        """Have a call made that nobody waits for; an error of it is logged."""
        future = self.submit(call)
        if future is None:
            logger.warning("%s is left to workers: %d calls wait to be made", what, MOST_PENDING)
        else:
            future.add_done_callback(lambda done: _log(done, what))

    @property
    def is_idle(self) -> bool:
        """Whether all calls so far were made."""
        return self._pid != os.getpid() or self._done.is_set()

    def flush(self, timeout: float) -> bool:
        """Return once all calls so far were made, or after ``timeout`` seconds; says which."""
        return self._pid != os.getpid() or self._done.wait(timeout)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._done = threading.Event()
        self._done.set()
        self._thread: threading.Thread | None = None

    def _run(self) -> None:
        while True:
            try:
                future, call = self._calls.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._calls.empty():
                        self._thread = None
                        return
                continue
            if future.set_running_or_notify_cancel():
                _make(future, call)
            with self._lock:
                if self._calls.empty():
                    self._done.set()


def _blocking(call: Callable[[], T]) -> T:
    _on_loop.set(False)  # here it may: this is the thread for that
    return call()


def _make(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - whoever waits gets it
        future.set_exception(error)
    else:
        future.set_result(result)


def _log(done: Future[Any], what: str) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        logger.error("%s failed: %s", what, error, exc_info=error)


PUBLISHER = Publisher()
"""The one of this process."""
atexit.register(PUBLISHER.flush, _EXIT_SECONDS)
