"""The runtime ``Hephaestus``: every call on runs of any workflow."""

from __future__ import annotations

import builtins
import logging
import os
import socket
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, Unpack
from weakref import WeakSet

from hephaestus_celery.client.cancel import end_tasks
from hephaestus_celery.client.expected_events import still_going
from hephaestus_celery.client.handle import InstanceHandle
from hephaestus_celery.client.listing import ListFilters, Page, read_query
from hephaestus_celery.client.parts import Parts, check_settings, put_together
from hephaestus_celery.client.resolve import find_run, list_runs, read_run
from hephaestus_celery.client.resume import resume
from hephaestus_celery.client.runtimes import RUNTIMES
from hephaestus_celery.client.start import check_start
from hephaestus_celery.client.timers import Timers
from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance, Clock
from hephaestus_celery.config import Settings
from hephaestus_celery.core.definition import versioning
from hephaestus_celery.core.definition.module_path import MAIN
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.cancel_report import CancelReport
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.retry import seconds
from hephaestus_celery.exceptions import (
    ConfigurationError,
    DataError,
    NotCancellableError,
    WaitTimeoutError,
)
from hephaestus_celery.locks import Turns
from hephaestus_celery.runners.hooks import Hooks
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.history_entries import decode_entry, encode_entry
from hephaestus_celery.storage.instances import decode_instance, decode_summary

if TYPE_CHECKING:
    from celery import Celery

    from hephaestus_celery.runners.port import Runner
    from hephaestus_celery.storage.port import Storage

logger = logging.getLogger("hephaestus_celery")


class Hephaestus:
    """Runs workflows: on the workers of a Celery application, or without one in this process.

    With ``app`` (or a proxy of one), steps run on its workers and their state is kept in Redis. Without
    ``app``, or with one whose ``task_always_eager`` is set, steps run on threads here and the state is in memory.
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
        self._timers = Timers()
        self.hooks = Hooks()
        """What the application runs around each attempt, and where a run is started."""
        if app is not None and self._given_runner is None:
            self._attach(app)
        self._unsubscribe = WORKFLOWS.subscribe(_note_left_behind)
        RUNTIMES.add(self)

    def start_instance(
        self,
        workflow: type[WorkflowDefinition],
        context: Mapping[str, Any] | None = None,
        *,
        id: str,
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> InstanceHandle:
        """Create a run of a workflow and launch it; returns its handle at once.

        ``id`` is the value of the instance id, ``key::value`` (given whole it is taken too). Of several starts of one
        id at the same time exactly one succeeds. A start whose state is stored is accepted, even when the broker can't
        be reached at that moment; a start that raises has stored nothing: ``AlreadyRunningError``, ``DataError`` for a
        context that can't be carried, ``ValueError`` for a bad id or version. After a ``StorageError`` its ``stored`` is
        False where that is sure, and None where it can't be known: look with ``get`` before starting again.
        """
        start = check_start(
            workflow, context, id=id, version=version, telemetry_metadata=telemetry_metadata, chance=self._chance
        )
        if self._closed:
            raise ConfigurationError(f"{self!r} is closed, and starts nothing any more; make a new one")
        parts = self._resolved()
        if parts.runner is self._celery_runner:
            self._check_found(start.workflow)
        run_id, messages = parts.driver.create(
            start.workflow, id=start.id, context=start.context, telemetry=start.telemetry
        )
        parts.runner.dispatch(messages)
        return InstanceHandle(id=start.id, run_id=run_id, hephaestus=self)

    def resume(
        self,
        id: str,
        event: str,
        data: Mapping[str, Any] | None = None,
        *,
        step: type[Step] | str | None = None,
        workflow: type[WorkflowDefinition] | None = None,
        keep_early: bool = False,
        key: str | None = None,
    ) -> None:
        """Deliver an event to the one waiting step that declares it, or to ``step``; ``data`` becomes its result.

        A worker applies it once, however often and from wherever it is sent. These errors record nothing:
        ``NotWaitingError`` when no step waits for it, ``AmbiguousResumeError`` when several do. With ``keep_early`` an
        event that comes before its step waits is kept, and delivered when one does. Several events of one name go to one
        step each, in the order in which they came.

        ``key`` names the event itself, such as the id that a webhook comes with. The run takes an event with this key
        once, whatever its name and data: a repetition is accepted and changes nothing, also when the run has ended. A
        run keeps 100 early events and 10 000 keys; more are a ``TooManyEventsError``.
        """
        resume(self._resolved(), id, event, data, step=step, workflow=workflow, keep_early=keep_early, key=key)

    def schedule_resume(self, id: str, step: type[Step] | str, delay: float | timedelta) -> str:
        """A durable timer: after ``delay`` (seconds or timedelta) the step gets the event ``"timeout"``, if it waits.

        Returns a reference for :meth:`cancel_timer`. A step that does not wait yet gets the event when it waits; a step
        that has ended never gets it. ``NotWaitingError`` when the run has ended, or the step can't take a timeout.
        """
        return self._timers.schedule(self._resolved(), id, step, delay)

    def cancel_timer(self, reference: str) -> bool:
        """Cancel a timer of :meth:`schedule_resume`; False when it has fired, was cancelled, or its run has ended.

        After a ``StorageError`` the timer may have been cancelled, and only the reply was lost. Then call again: the second
        call returns what the first one would have returned.
        """
        return self._timers.cancel(self._resolved(), reference)

    def cancel(
        self,
        id: str,
        reason: str | None = None,
        *,
        terminate: bool = False,
        workflow: type[WorkflowDefinition] | None = None,
    ) -> CancelReport:
        """End a run: later results are dropped, no new step starts, its id is free at once.

        Steps that no worker has claimed do not start. A step that is being executed goes on, and its result is discarded;
        it may ask ``context.cancelled()``. With ``terminate`` it is interrupted where its pool can do so:
        in prefork pools, by Celery's ``SoftTimeLimitExceeded``. The report names the steps that were being executed, and
        those that were interrupted; of the others a warning is logged. ``NotCancellableError`` when the run has ended already.
        """
        if reason is not None and not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DataError(f"reason must be a string or None, not {shown(reason)}")
        codec.encode_limited(reason, "reason", limit=self.settings.max_payload)
        parts = self._resolved()
        run_id = self._run_id(id, workflow)
        cancelled = parts.storage.cancel(
            run_id,
            operation=self._chance.token(),
            reason=reason,
            entry=encode_entry(kind="cancel", reason=reason),
            durations=parts.driver.durations,
        )
        if cancelled is None:
            ended = self.get(run_id)
            raise NotCancellableError(
                f"{ended.id} has ended already ({ended.status}); only an active run can be cancelled"
            )
        instance = decode_instance(cancelled.run, reader=parts.storage)
        parts.driver.emitter.workflow_cancel(instance, {"sequence": cancelled.sequence, "reason": reason})
        return end_tasks(parts.runner, instance, cancelled, terminate=terminate)

    def get(self, id: str, *, workflow: type[WorkflowDefinition] | None = None) -> Instance:
        """The active run of an instance id, else its newest; or the run with this run id.

        ``InstanceNotFoundError`` when there is none, ``AmbiguousInstanceError`` when several are active.
        """
        return read_run(self._resolved().storage, id, workflow=workflow)

    def wait(self, id: str, timeout: float | timedelta | None = None) -> Instance:
        """Wait for the end of a run, at most ``timeout`` (seconds or timedelta), and give its instance.

        ``WaitTimeoutError`` says where it stands when the time is over; the run itself goes on.
        """
        length = None if timeout is None else seconds(timeout, name="timeout")
        run_id = self._run_id(id, None)
        parts = self._resolved()
        finished = parts.storage.wait_finished(run_id, timeout=length)
        if finished:
            parts.runner.flush(run_id)
        with self._reading.turn():  # hundreds may have waited for runs that ended at once
            instance = self.get(run_id)
        if not finished and not instance.status.final:
            raise WaitTimeoutError(still_going(instance, length))
        return instance

    def history(self, id: str) -> builtins.list[HistoryEntry]:
        """Every attempt, resume and cancellation of a run, in the order of their commits."""
        run_id = self._run_id(id, None)
        entries = self._resolved().storage.history(run_id)
        if not entries:
            self.get(run_id)  # raises for a run that is not there; one that has not begun has no history
        return [decode_entry(entry, run_id=run_id) for entry in entries]

    def list(self, **filters: Unpack[ListFilters]) -> Page:
        """A page of instances that match all filters, newest first; ``page.next_cursor`` gives the next one.

        Filters: ``status``, ``status_in``, ``workflow`` (a class or its name; an umbrella means all its versions),
        ``version``, ``workflow_family``, ``id``, ``tag``, ``started_after``, ``started_before`` (aware datetimes),
        ``limit`` (default 100), ``cursor``. ``TypeError`` for an unknown filter, ``ValueError`` for a bad value.

        A listing carries no contexts, results, metadata or failures. Accessing one of them reads it then, by run id, and
        keeps it; ``InstanceNotFoundError`` if the run is gone by then.
        """
        storage = self._resolved().storage
        runs, cursor = list_runs(storage, read_query(filters))
        instances = [decode_summary(summary, run_id=run_id, reader=storage) for run_id, summary in runs]
        return Page(instances=tuple(instances), next_cursor=cursor)

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

    def _run_id(self, id: object, workflow: type[WorkflowDefinition] | None) -> str:
        return find_run(self._resolved().storage, id, workflow=workflow)


def _real(app: Celery) -> Celery:
    from hephaestus_celery.runners.celery import real_app

    return real_app(app)


_noted: WeakSet[type[WorkflowDefinition]] = WeakSet()


def _note_left_behind(workflow: type[WorkflowDefinition]) -> None:
    note = versioning.left_behind(workflow)
    if note is not None and workflow not in _noted:
        _noted.add(workflow)
        logger.warning("%s", note)
