"""The runtime ``Hephaestus``: its parts and its life. Its calls are in modules of their own, a topic each."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from hephaestus_celery.client.aio import AioHephaestus
from hephaestus_celery.client.bulk import Bulk
from hephaestus_celery.client.cancel import Cancels
from hephaestus_celery.client.delete import Deletes
from hephaestus_celery.client.events import StreamCalls
from hephaestus_celery.client.means import Means, blocking, on_loop
from hephaestus_celery.client.parts import Parts, check_settings, put_together
from hephaestus_celery.client.pauses import Pausing
from hephaestus_celery.client.reads import Reads
from hephaestus_celery.client.reruns import Reruns
from hephaestus_celery.client.resume import Resumes
from hephaestus_celery.client.runtimes import RUNTIMES
from hephaestus_celery.client.start import Starts
from hephaestus_celery.client.start_many import ManyStarts
from hephaestus_celery.client.timers import Timers
from hephaestus_celery.client.waits import Waits
from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance, Clock
from hephaestus_celery.config import Settings
from hephaestus_celery.core.definition import versioning
from hephaestus_celery.core.definition.module_path import MAIN
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.exceptions import (
    ConfigurationError,
)
from hephaestus_celery.locks import Turns
from hephaestus_celery.runners.hooks import Hooks

if TYPE_CHECKING:
    from celery import Celery

    from hephaestus_celery.runners.port import Runner
    from hephaestus_celery.storage.port import Storage

logger = logging.getLogger("hephaestus_celery")


class Hephaestus(
    Starts,
    ManyStarts,
    Resumes,
    Timers,
    Cancels,
    Pausing,
    Reruns,
    Deletes,
    Bulk,
    Reads,
    Waits,
    StreamCalls,
):
    """Runs workflows: on the workers of a Celery application, or without one in this process.

    With ``app`` (or a proxy of one), steps run on its workers and their state is kept in Redis. Without
    ``app``, steps run on threads here and the state is in memory. With one whose ``task_always_eager`` is set, the state is in
    memory too, and steps run on the thread that starts or resumes, before the call returns.
    ``storage`` and ``runner`` replace either part. Errors and telemetry use ``name`` for this runtime. ``clock`` and
    ``chance`` replace those of the operating system, for tests; a storage or runner that is passed has its own. ``hooks``
    adds code of the application around attempts and at starts.

    The settings (``hephaestus_...``) of the application are read when they are first needed: by the first call, or when a
    worker starts. A worker with a wrong setting ends. Settings that the application has loaded already are checked at
    once. A runtime without ``app`` takes ``settings``; ``storage`` says where its state is kept. ``ConfigurationError``
    says what is wrong or missing.
    """

    def __init__(
        self,
        app: Celery | None = None,
        *,
        storage: Storage | type[Storage] | None = None,
        runner: Runner | type[Runner] | None = None,
        settings: Settings | None = None,
        name: str | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        self.app = app = None if app is None else _real(app)
        self.name = name or (f"hephaestus:{app.main}" if app is not None else "hephaestus")
        self._given_storage: Storage | None = storage() if isinstance(storage, type) else storage
        self._given_runner: Runner | None = runner() if isinstance(runner, type) else runner
        self._given_settings = None if settings is None else check_settings(settings, app=app)
        self._lock = threading.Lock()
        self._reading = Turns()
        self._parts: Parts | None = None
        self._celery_runner: Runner | None = None
        self._closed = False
        self._clock = SYSTEM_CLOCK if clock is None else clock
        self._chance = SYSTEM_CHANCE if chance is None else chance
        self._unanswered: dict[str, str] = {}
        self._blocking: Means | None = None
        self.hooks = Hooks()
        """What the application runs around each attempt, and where a run is started."""
        self._aio = AioHephaestus(self, chance=self._chance, means=self._means_on_loop, check_open=self._check_open)
        if app is not None and self._given_runner is None:
            self._attach(app)
        self._unsubscribe = WORKFLOWS.subscribe(_note_left_behind)
        RUNTIMES.add(self)

    @property
    def aio(self) -> AioHephaestus:
        """The same calls as coroutines, for event loops: ``await hephaestus.aio.get("orderid::A-1")``."""
        return self._aio

    @property
    def storage(self) -> Storage:
        """The storage of this runtime."""
        return self._resolved().storage

    @property
    def runner(self) -> Runner:
        """The runner of this runtime."""
        return self._resolved().runner

    @property
    def settings(self) -> Settings:
        """The settings of this runtime."""
        return self._resolved().driver.settings

    def close(self) -> None:
        """End threads and close connections; steps that are being executed here end first."""
        self._closed = True
        RUNTIMES.discard(self)
        self._unsubscribe()
        for runner in (self._celery_runner, self._parts and self._parts.runner):
            if runner is not None:
                runner.close()
        if self._parts is not None:
            self._parts.driver.close()
            self._parts.storage.close()

    def __enter__(self) -> Self:
        """For the block, workflow classes find this runtime before all others; it is closed at the end of the block."""
        RUNTIMES.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        RUNTIMES.leave(self)
        self.close()

    def __repr__(self) -> str:
        return f"<Hephaestus {self.name!r}>"

    def _attach(self, app: Celery) -> None:
        from hephaestus_celery.runners.celery import CeleryRunner, check_given

        check_given(app)
        self._celery_runner = CeleryRunner(app, name=self.name, owns=self._owns, clock=self._clock, chance=self._chance)
        self._celery_runner.bind(lambda: self._resolved().driver)

    def _check_found(self, workflow: type[WorkflowDefinition]) -> None:
        """Refuse a workflow that no worker of the application would know: its runs would wait for ever."""
        if not self._owns(workflow):
            raise ConfigurationError(
                f"{workflow.__qualname__} belongs to {workflow.hephaestus!r} (its attribute `hephaestus`), and workers of "
                f"{self!r} do not have its steps; start it there, or take the attribute away"
            )
        rival = self._rival(workflow)
        if rival is not None:
            raise ConfigurationError(
                f"{self!r} and {rival!r} share an application and keep their runs in different stores, and both are given "
                f"{workflow.__qualname__}, whose tasks work for one store only: the runs of the other would wait for ever. Give "
                "each an application of its own, or say which one the workflow belongs to with its attribute `hephaestus`"
            )
        if workflow in versioning.UNNAMED and workflow.name.startswith(f"{MAIN}."):
            raise ConfigurationError(
                f"{workflow.__qualname__} is defined in {MAIN}, in no file that a worker could import; put it in a module "
                f"that workers import, or give it a name = ... and define it under that name there"
            )

    def _rival(self, workflow: type[WorkflowDefinition]) -> Hephaestus | None:
        # An application has one task of each name: the last registration counts.
        others = (other for other in RUNTIMES.all() if isinstance(other, Hephaestus) and other is not self)
        return next((other for other in others if self._contests(other) and other._owns(workflow)), None)  # noqa: SLF001 - one class

    def _contests(self, other: Hephaestus) -> bool:
        if other.app is not self.app or other._celery_runner is None or other._given_storage is self._given_storage:
            return False
        try:
            store = other.storage
        except ConfigurationError:
            return False  # no run is begun there
        return not self.storage.is_one_with(store)

    def _owns(self, workflow: type[WorkflowDefinition]) -> bool:
        return workflow.hephaestus is None or workflow.hephaestus is self

    def _resolved(self) -> Parts:
        if self._parts is not None:
            return self._parts
        with self._lock:
            made = self._parts is None
            parts = self._parts = self._parts or self._put_together()
        if made and parts.runner is not self._celery_runner:
            self._emit_init(parts)  # outside the lock: a handler may use this runtime
        return parts

    def _emit_init(self, parts: Parts) -> None:
        # A worker's runner emits this event itself; here steps are executed in this process.
        parts.driver.emitter.runner_init(
            {
                "name": self.name,
                "runner": type(parts.runner),
                "storage": type(parts.storage),
                "pid": os.getpid(),
                "hostname": socket.gethostname(),
            }
        )

    def _put_together(self) -> Parts:
        return put_together(
            self.app,
            settings=self._given_settings,
            storage=self._given_storage,
            runner=self._given_runner,
            celery_runner=self._celery_runner,
            hooks=self.hooks,
            clock=self._clock,
            chance=self._chance,
        )

    def _means(self) -> Means:
        if self._blocking is None:
            self._blocking = blocking(
                self._resolved(), admit=self._admit, turns=self._reading, unanswered=self._unanswered
            )
        self._blocking.catch_up()
        return self._blocking

    def _means_on_loop(self) -> Means:
        return on_loop(self._resolved(), admit=self._admit, unanswered=self._unanswered)

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError(f"{self!r} is closed, and starts nothing any more; make a new one")

    def _admit(self, workflow: type[WorkflowDefinition]) -> None:
        if self._resolved().runner is self._celery_runner:
            self._check_found(workflow)


def _real(app: Celery) -> Celery:
    from hephaestus_celery.runners.celery import real_app

    return real_app(app)


_noted: WeakSet[type[WorkflowDefinition]] = WeakSet()


def _note_left_behind(workflow: type[WorkflowDefinition]) -> None:
    note = versioning.left_behind(workflow)
    if note is not None and workflow not in _noted:
        _noted.add(workflow)
        logger.warning("%s", note)
