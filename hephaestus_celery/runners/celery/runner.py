"""The runner that hands steps to an application's Celery workers."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from billiard.process import current_process
from celery import Celery, signals
from celery.concurrency.solo import TaskPool as SoloPool

from hephaestus_celery import telemetry
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.inputs import find_worker
from hephaestus_celery.exceptions import ConfigurationError, StorageError
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.runners.celery import signals as receivers
from hephaestus_celery.runners.celery.consumer import consumer_step
from hephaestus_celery.runners.celery.dispatch import call_task, interrupt, revoke, send
from hephaestus_celery.runners.celery.forking import look_after_forks, undisturbed
from hephaestus_celery.runners.celery.headers import Surroundings
from hephaestus_celery.runners.celery.interrupt import register as register_interrupt
from hephaestus_celery.runners.celery.lost_processes import PoolWatch, draw_soon
from hephaestus_celery.runners.celery.overrides import is_plain
from hephaestus_celery.runners.celery.prepared_messages import MessagePreparer
from hephaestus_celery.runners.celery.recovery import TaskRecovery
from hephaestus_celery.runners.celery.registration import register
from hephaestus_celery.runners.celery.worker_checks import advise
from hephaestus_celery.runners.celery.workers import CeleryFleet, LaneFinder, Reporter, lane_of
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.lost_messages import report_interval
from hephaestus_celery.runners.messages import NO_HEADERS, Message
from hephaestus_celery.runners.refusals import RefusalLog
from hephaestus_celery.runners.scheduler import Scheduler
from hephaestus_celery.storage.port import PreparedMessage, Sent

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.workflow import Workflow

logger = logging.getLogger("hephaestus_celery")


class CeleryRunner:
    """Registers a task for each step of each workflow on ``app``, and sends their messages.

    ``owns`` says which workflows are this runner's, where a process has several runtimes.
    """

    name = "celery"

    def __init__(
        self,
        app: Celery,
        *,
        name: str,
        owns: Callable[[type[Workflow]], bool],
    ) -> None:
        self.app = app
        self._name = name
        self._driver: Callable[[], Driver] | None = None
        self._owns = owns
        self.refusals = RefusalLog()
        self.recovery = TaskRecovery(lambda: self.driver, hostname=lambda: self.hostname, refusals=self.refusals)
        self._initialised: WeakSet[Any] = WeakSet()
        receivers.connect()
        self._hostname = ""
        self._scheduler: Scheduler | None = None
        self._watch = PoolWatch()
        self._step = consumer_step(self._uid, begin=self._on_consumer, end=self._on_consumer_end)
        cast("Any", app).steps["consumer"].add(self._step)
        self._preparer: MessagePreparer | None = None
        self._lanes: LaneFinder | None = None
        self._reporter: Reporter | None = None
        self._surroundings = Surroundings(app, self._call)
        self._solo = False
        for signal, receiver in self._worker_signals():
            signal.connect(receiver, weak=False, dispatch_uid=self._uid)
        self._unsubscribe: Callable[[], None] = lambda: None
        if cast("Any", app).finalized:  # not in the stubs
            self._subscribe(app)
        else:
            # Registering a task finalizes an application; it does that itself when it is ready.
            app.on_after_finalize.connect(self._subscribe, weak=False)

    @property
    def hostname(self) -> str | None:
        """The name of the worker that this process is, or belongs to; None in any other."""
        return self._hostname or None

    def bind(self, driver: Callable[[], Driver]) -> None:
        self._driver = driver

    @property
    def ends_attempts(self) -> bool:
        return _in_pool_process()

    @property
    def driver(self) -> Driver:
        """Drives the runs of this application."""
        if self._driver is None:
            raise ConfigurationError("a CeleryRunner works for a Hephaestus: Hephaestus(app)")
        return self._driver()

    def dispatch(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        default_queue = self.driver.settings.default_queue
        if self._goes_where_it_is_routed(messages):
            send(self.app, messages, default_queue=default_queue)
            return
        went: list[Sent] = []

        def see(message: Message, place: Mapping[str, Any]) -> None:
            lane = self._lane_finder().see(message, place)
            if lane is not None:
                dispatch = DispatchStep(message.step, message.attempt, message.token)
                went.append(Sent(run_id=message.run_id, dispatch=dispatch, lane=lane))

        send(self.app, messages, default_queue=default_queue, see=see)
        if went:
            try:
                self.driver.storage.redirect(went)
            except StorageError as error:
                logger.debug("where %d message(s) went can't be told: %s", len(went), error)

    def _goes_where_it_is_routed(self, messages: Sequence[Message]) -> bool:
        inherits = cast("Any", self.app).conf.task_inherit_parent_priority
        return not inherits and is_plain(self.app, [message.task_name for message in messages])

    def start_messages(self, messages: Sequence[Message]) -> tuple[Sequence[Message], Mapping[str, Any]]:
        if is_plain(self.app, [message.task_name for message in messages]):
            return messages, NO_HEADERS
        return self._surroundings.start_messages(messages)

    def prepare(self, message: Message, *, parent: str | None) -> PreparedMessage | None:
        if parent is not None and not self._is_sequential():
            return None
        if self._preparer is None:
            driver = self.driver
            store = getattr(driver.storage, "url", None) if driver.settings.transactional_dispatch else None
            self._preparer = MessagePreparer(self.app, store=store, default_queue=driver.settings.default_queue)
        return self._preparer.prepare(message, parent=parent)

    @property
    def lanes_are_fixed(self) -> bool:
        return self._lane_finder().are_fixed

    def lane(self, message: Message) -> str | None:
        return self._lane_finder().find(message)

    def lane_of(self, delivery: object) -> str | None:
        """The lane that a message came from, by its ``delivery_info``."""
        return lane_of(self.app, delivery)

    def _lane_finder(self) -> LaneFinder:
        if self._lanes is None:
            self._lanes = LaneFinder(self.app, default_queue=self.driver.settings.default_queue)
        return self._lanes

    def revoke(self, task_ids: Sequence[str]) -> None:
        revoke(self.app, task_ids)

    def interrupt(self, holders: Mapping[str, str]) -> Collection[str]:
        return interrupt(self.app, holders)

    def flush(self, run_id: str) -> None:
        """Workers tell in their own processes; there is nothing to wait for here."""

    def close(self) -> None:
        self._unsubscribe()
        for signal, _ in self._worker_signals():
            signal.disconnect(dispatch_uid=self._uid)
        cast("Any", self.app).steps["consumer"].discard(self._step)
        self._stop_scheduler()

    def scheduler(self, *, hostname: str) -> Scheduler:
        """A scheduler for the runs of this application, to be started or run."""
        worker, fleet = Worker(hostname=hostname), CeleryFleet(self.app)
        return Scheduler(
            lambda: self.driver, dispatch=self.dispatch, worker=worker, fleet=fleet, undisturbed=undisturbed
        )

    def _worker_signals(self) -> list[tuple[Any, Callable[..., None]]]:
        return [
            (signals.worker_init, self._on_worker_init),
            (signals.worker_shutdown, self._on_worker_shutdown),
            (signals.task_unknown, self._on_task_unknown),
        ]

    def _on_consumer(self, consumer: Any) -> None:
        # Not in worker_init: the pool's first processes are forked by now. Again after each loss of the connection.
        self._initialise(consumer.controller)
        self._watch.start(consumer)
        draw_soon(consumer)
        self._solo = isinstance(consumer.pool, SoloPool)
        if self._scheduler is None:
            advise(self.app, consumer)
            look_after_forks()
            self._scheduler = self.scheduler(hostname=self._hostname)
            self._scheduler.start()
            self._reporter = Reporter(
                lambda: self.driver.storage,
                app=self.app,
                consumer=consumer,
                name=f"{self._hostname} {os.getpid()}",
                interval=report_interval(self.driver.settings.dispatch_timeout),
            )
            self._reporter.start()

    def _on_consumer_end(self) -> None:
        self._watch.stop()
        self._stop_scheduler()

    def _on_worker_shutdown(self, sender: Any = None, **_: Any) -> None:
        if getattr(sender, "app", None) is self.app:
            self._stop_scheduler()

    def _on_task_unknown(self, sender: Any = None, message: Any = None, name: str = "", **_: Any) -> None:
        if getattr(sender, "app", None) is self.app:
            self.recovery.decline(name, message)

    def _call(self, producer: Any, message: Message) -> None:
        call_task(self.app, producer, message, self.driver.settings.default_queue)

    def _stop_scheduler(self) -> None:
        if self._reporter is not None:
            self._reporter.stop()
            self._reporter = None
        if self._scheduler is not None:
            self._scheduler.stop()
            self._scheduler = None

    def _is_sequential(self) -> bool:
        # Where several steps are executed side by side, the next one could begin, and tell so, before this one has told
        # its end: there its message is sent after that.
        return self._solo or _in_pool_process()

    @property
    def _uid(self) -> str:
        return f"hephaestus_celery.worker_init.{id(self)}"

    def _subscribe(self, _app: Any = None, **_: Any) -> None:
        self._unsubscribe()
        self._unsubscribe = WORKFLOWS.subscribe(self._register)

    def _register(self, workflow: type[Workflow]) -> None:
        if self._owns(workflow):
            register(self.app, self, workflow)

    def _on_worker_init(self, sender: Any = None, **_: Any) -> None:
        if getattr(sender, "app", None) is not self.app:
            return
        try:
            self._initialise(sender)
        except ConfigurationError as error:
            # Celery would log what a receiver raises, and go on with a worker that can execute no step.
            raise SystemExit(f"hephaestus-celery: {error}") from error

    def _initialise(self, worker: Any) -> None:
        # Once for each worker; one of celery.contrib.testing sends no worker_init.
        if worker in self._initialised:
            return
        register_interrupt()
        self._initialised.add(worker)
        self._hostname = find_worker(getattr(worker, "hostname", None)) or socket.gethostname()
        driver = self.driver
        telemetry.runner_init(
            {
                "name": self._name,
                "runner": type(self),
                "storage": type(driver.storage),
                "pid": os.getpid(),
                "hostname": self._hostname,
            }
        )


def _in_pool_process() -> bool:
    return current_process().name != "MainProcess"
