"""What runs beside the tasks in a worker, from start to end: scheduler, worker reports, watch over the pool."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from billiard.process import current_process
from celery import Celery, signals
from celery.concurrency.solo import TaskPool as SoloPool

from hephaestus_celery.clock import Clock
from hephaestus_celery.core.values.inputs import find_worker
from hephaestus_celery.exceptions import ConfigurationError, StorageError
from hephaestus_celery.runners.celery.consumer import consumer_step
from hephaestus_celery.runners.celery.forking import delay_forks
from hephaestus_celery.runners.celery.lost_processes import PoolWatch
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.lost_messages import report_interval
from hephaestus_celery.runners.scheduler import Scheduler

if TYPE_CHECKING:
    from hephaestus_celery.runners.celery.worker_reports import WorkerReporter

logger = logging.getLogger(__name__)


class WorkerLifecycle:
    """Follows the workers of an application that live in this process.

    ``on_init`` is called once for each worker, ``on_unknown`` with the name and message of each task that it does not
    know; ``scheduler`` makes a scheduler.
    """

    def __init__(
        self,
        app: Celery,
        *,
        driver: Callable[[], Driver],
        scheduler: Callable[[], Scheduler],
        on_init: Callable[[], None],
        on_unknown: Callable[[str, Any], None],
        clock: Clock,
    ) -> None:
        self._app = app
        self._driver = driver
        self._make_scheduler = scheduler
        self._on_init = on_init
        self._on_unknown = on_unknown
        self._clock = clock
        self._hostname: str | None = None
        self._initialised: WeakSet[Any] = WeakSet()
        self._has_solo_pool = False
        self._watch = PoolWatch()
        self._scheduler: Scheduler | None = None
        self._reporter: WorkerReporter | None = None
        self._step = consumer_step(self._uid, begin=self._on_consumer, end=self._on_consumer_end)

    @property
    def hostname(self) -> str | None:
        """The name of the worker that this process is, or belongs to; None in any other."""
        return self._hostname

    @property
    def is_sequential(self) -> bool:
        """Whether this process is known to execute one step at a time."""
        return self._has_solo_pool or in_pool_process()

    def connect(self) -> None:
        """Begin to follow."""
        cast("Any", self._app).steps["consumer"].add(self._step)
        for signal, receiver in self._receivers():
            signal.connect(receiver, weak=False, dispatch_uid=self._uid)

    def disconnect(self) -> None:
        """Stop following, and end what runs beside the tasks."""
        for signal, _ in self._receivers():
            signal.disconnect(dispatch_uid=self._uid)
        cast("Any", self._app).steps["consumer"].discard(self._step)
        self._stop()

    def _receivers(self) -> list[tuple[Any, Callable[..., None]]]:
        return [
            (signals.worker_init, self._on_worker_init),
            (signals.worker_shutdown, self._on_worker_shutdown),
            (signals.task_unknown, self._on_task_unknown),
        ]

    @property
    def _uid(self) -> str:
        return f"hephaestus_celery.worker_init.{id(self)}"

    def _on_worker_init(self, sender: Any = None, **_: Any) -> None:
        if not self._is_ours(sender):
            return
        try:
            self._initialise(sender)
        except ConfigurationError as error:
            # Celery would only log an error of a receiver, and run a worker that can't execute any step.
            raise SystemExit(f"hephaestus-celery: {error}") from error
        try:
            self._driver().storage.read_clock()
        except StorageError as error:
            logger.debug("the clock of the state store can't be read before the pool starts: %s", error)

    def _on_worker_shutdown(self, sender: Any = None, **_: Any) -> None:
        if self._is_ours(sender):
            self._stop()

    def _on_task_unknown(self, sender: Any = None, message: Any = None, name: str = "", **_: Any) -> None:
        if self._is_ours(sender):
            self._on_unknown(name, message)

    def _is_ours(self, sender: Any) -> bool:
        return getattr(sender, "app", None) is self._app

    def _on_consumer(self, consumer: Any) -> None:
        from hephaestus_celery.runners.celery.polling import poll_while_full  # a client never needs it

        # Not in worker_init: here, the pool's first processes are forked. Called again after each lost connection.
        self._initialise(consumer.controller)
        self._watch.start(consumer)
        poll_while_full(consumer)
        self._has_solo_pool = isinstance(consumer.pool, SoloPool)
        if self._scheduler is None:
            from hephaestus_celery.runners.celery.worker_checks import advise  # a client never needs it

            advise(self._app, consumer)
            delay_forks()
            self._start(consumer)

    def _on_consumer_end(self) -> None:
        self._watch.stop()
        self._stop()

    def _initialise(self, worker: Any) -> None:
        # Once for each worker, since a worker of celery.contrib.testing sends no worker_init.
        if worker in self._initialised:
            return
        from hephaestus_celery.runners.celery import interrupt  # a client never needs it, nor what it imports

        interrupt.register()
        self._initialised.add(worker)
        self._hostname = find_worker(getattr(worker, "hostname", None)) or socket.gethostname()
        self._on_init()

    def _start(self, consumer: Any) -> None:
        from hephaestus_celery.runners.celery.worker_reports import WorkerReporter  # a client never needs it

        self._scheduler = self._make_scheduler()
        self._scheduler.start()
        self._reporter = WorkerReporter(
            lambda: self._driver().storage,
            app=self._app,
            consumer=consumer,
            name=f"{self._hostname} {os.getpid()}",
            interval=report_interval(self._driver().settings.dispatch_timeout),
            clock=self._clock,
        )
        self._reporter.start()

    def _stop(self) -> None:
        if self._reporter is not None:
            self._reporter.stop()
            self._reporter = None
        if self._scheduler is not None:
            self._scheduler.stop()
            self._scheduler = None


def in_pool_process() -> bool:
    """Whether this is a process of a pool, and not a worker's main process nor any other."""
    return current_process().name != "MainProcess"
