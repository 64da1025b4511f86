"""The runner on Celery: hands steps to the workers of an application."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from celery import Celery

from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance, Clock
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.exceptions import ConfigurationError, StorageError
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.runners.celery import signals as receivers
from hephaestus_celery.runners.celery.abandoned_tasks import TaskRecovery
from hephaestus_celery.runners.celery.custom_sending import is_unmodified
from hephaestus_celery.runners.celery.dispatch import call_task, send
from hephaestus_celery.runners.celery.fleet import CeleryFleet
from hephaestus_celery.runners.celery.forking import no_forks
from hephaestus_celery.runners.celery.headers import HeaderCapture
from hephaestus_celery.runners.celery.loop_dispatch import LoopDispatch
from hephaestus_celery.runners.celery.prepared_messages import MessagePreparer
from hephaestus_celery.runners.celery.registration import register
from hephaestus_celery.runners.celery.remote_control import interrupt, revoke
from hephaestus_celery.runners.celery.routing import LaneFinder, lane_of
from hephaestus_celery.runners.celery.worker_lifecycle import WorkerLifecycle, in_pool_process
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.fleet import Fleet
from hephaestus_celery.runners.message_dispatcher import FirstMessages
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.refusal_log import RefusalLog
from hephaestus_celery.runners.scheduler import Scheduler
from hephaestus_celery.storage.due import Sent
from hephaestus_celery.storage.starts import PreparedMessage

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

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
        owns: Callable[[type[WorkflowDefinition]], bool],
        clock: Clock = SYSTEM_CLOCK,
        chance: Chance = SYSTEM_CHANCE,
    ) -> None:
        self.app = app
        self.clock, self.chance = clock, chance
        self._name = name
        self._owns = owns
        self._driver: Callable[[], Driver] | None = None
        self.refusals = RefusalLog()
        self.recovery = TaskRecovery(
            lambda: self.driver,
            dispatch=self.dispatch,
            hostname=lambda: self.hostname,
            refusals=self.refusals,
        )
        self._preparer: MessagePreparer | None = None
        self._lanes: LaneFinder | None = None
        self._headers = HeaderCapture(app, self._call)
        self._lifecycle = WorkerLifecycle(
            app,
            driver=lambda: self.driver,
            scheduler=lambda: self.scheduler(hostname=self.hostname or ""),
            on_init=self._emit_init,
            on_unknown=self.recovery.decline,
            clock=clock,
        )
        receivers.connect()
        self._lifecycle.connect()
        self._unsubscribe: Callable[[], None] = lambda: None
        if cast("Any", app).finalized:  # not in the stubs
            self._subscribe(app)
        else:
            # Registering a task would finalize the application too early, so this waits until it is finalized.
            app.on_after_finalize.connect(self._subscribe, weak=False)

    @property
    def hostname(self) -> str | None:
        """The name of the worker that this process is, or belongs to; None in any other."""
        return self._lifecycle.hostname

    def bind(self, driver: Callable[[], Driver]) -> None:
        self._driver = driver

    @property
    def ends_attempts(self) -> bool:
        return in_pool_process()

    @property
    def driver(self) -> Driver:
        """The driver of this application's runs."""
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
        elsewhere: list[Sent] = []

        def note(message: Message, place: Mapping[str, Any]) -> None:
            lane = self._lane_finder().note_sent(message, place)
            if lane is not None:
                dispatch = message.dispatch
                elsewhere.append(Sent(run_id=message.run_id, dispatch=dispatch, lane=lane))

        send(self.app, messages, default_queue=default_queue, on_sent=note)
        if elsewhere:
            try:
                self.driver.storage.redirect(elsewhere, durations=self.driver.durations)
            except StorageError as error:
                logger.debug("the lanes of %d message(s) can't be stored: %s", len(elsewhere), error)

    def _goes_where_it_is_routed(self, messages: Sequence[Message]) -> bool:
        inherits = cast("Any", self.app).conf.task_inherit_parent_priority
        return not inherits and is_unmodified(self.app, [message.task_name for message in messages])

    def start_messages(self, runs: Sequence[Sequence[Message]]) -> Sequence[FirstMessages | Exception]:
        # Looking at the application takes longer than all else here. Nothing of its own runs before the messages are prepared.
        if is_unmodified(self.app, {message.task_name for messages in runs for message in messages}):
            return [self._prepared_at_once(messages) for messages in runs]
        return [self._started_by_application(messages) for messages in runs]

    def _prepared_at_once(self, messages: Sequence[Message]) -> FirstMessages:
        preparer = self._message_preparer()
        prepared = [preparer.prepare_unmodified(message, parent=None) for message in messages]
        return FirstMessages(messages=messages, prepared=prepared)

    def _started_by_application(self, messages: Sequence[Message]) -> FirstMessages | Exception:
        if is_unmodified(self.app, [message.task_name for message in messages]):
            return self._prepared_at_once(messages)
        try:
            captured, headers = self._headers.start_messages(messages)
        except Exception as error:  # noqa: BLE001 - the application's own code; the other runs are still started
            return error
        return FirstMessages(messages=captured, headers=headers)

    def prepare(self, message: Message, *, parent: str | None) -> PreparedMessage | None:
        # If a worker executes several steps at once, the next step could emit its start before this one emits its end.
        # So its message is sent after that.
        if parent is not None and not self._lifecycle.is_sequential:
            return None
        return self._message_preparer().prepare(message, parent=parent)

    def _message_preparer(self) -> MessagePreparer:
        if self._preparer is None:
            driver = self.driver
            store = driver.storage.url if driver.settings.transactional_dispatch else None
            self._preparer = MessagePreparer(
                self.app,
                store=store,
                default_queue=driver.settings.default_queue,
                ask=driver.storage.now,
                clock=self.clock,
                chance=self.chance,
            )
        return self._preparer

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

    def aio(self) -> LoopDispatch:
        return LoopDispatch(self)

    def flush(self, run_id: str) -> None:
        """Workers emit in their own processes; there is nothing to wait for here."""

    def close(self) -> None:
        self._unsubscribe()
        self._lifecycle.disconnect()

    def scheduler(self, *, hostname: str) -> Scheduler:
        """A scheduler for the runs of this application, to be started or run."""
        worker, fleet = Worker(hostname=hostname), self.fleet
        return Scheduler(lambda: self.driver, dispatch=self.dispatch, worker=worker, fleet=fleet, undisturbed=no_forks)

    @property
    def fleet(self) -> Fleet:
        return CeleryFleet(self.app)

    def _emit_init(self) -> None:
        self.driver.emitter.runner_init(
            {
                "name": self._name,
                "runner": type(self),
                "storage": type(self.driver.storage),
                "pid": os.getpid(),
                "hostname": self.hostname,
            }
        )

    def _call(self, producer: Any, message: Message) -> None:
        call_task(self.app, producer, message, self.driver.settings.default_queue)

    def _subscribe(self, _app: Any = None, **_: Any) -> None:
        self._unsubscribe()
        self._unsubscribe = WORKFLOWS.subscribe(self._register)

    def _register(self, workflow: type[WorkflowDefinition]) -> None:
        if self._owns(workflow):
            register(self.app, self, workflow)
