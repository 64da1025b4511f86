"""Retries and forks: a new run goes on where an earlier one stopped, or runs a part of it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hephaestus_celery.client.calls import AioCalls, AioWorkflowCalls, RuntimeCalls, WorkflowCalls
from hephaestus_celery.client.handle import InstanceHandle
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.resolve import find_run
from hephaestus_celery.client.start import instance_id_of
from hephaestus_celery.core.definition.registry import WORKFLOWS, definition_of
from hephaestus_celery.core.definition.step import Step, check_step_key
from hephaestus_celery.core.definition.workflow import InputT, TypedWorkflow, WorkflowDefinition
from hephaestus_celery.core.execution.reruns import Obstacle
from hephaestus_celery.core.values.data_types import Data, overlaid
from hephaestus_celery.core.values.formatting import listed, shown
from hephaestus_celery.core.values.inputs import check_by
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import DataError, InstanceNotFoundError
from hephaestus_celery.runners.rerunning import Earlier, asks_routes, kept_keys
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.storage.queries import DataKind, StoredRun
from hephaestus_celery.storage.reruns import refused
from hephaestus_celery.storage.snapshot import Snapshot, undo_numbers


async def retry(
    means: Means,
    id: str,
    *,
    context: object,
    by: str | None,
    workflow: type[WorkflowDefinition] | None = None,
) -> tuple[str, str]:
    """Make a run that goes on where a failed or cancelled one stopped; gives its id and run id."""
    check_by(by)
    run_id = await find_run(means, id, workflow=workflow)
    run, instance = await _read(means, run_id)
    if run.status is Status.COMPLETED:
        raise refused(Obstacle.COMPLETED, instance_id=instance.id, source=run_id)
    earlier = Earlier(
        run=run,
        run_id=run_id,
        workflow=definition_of(instance),
        id=instance.id,
        initial=await _overlaid(means, run, run_id, definition_of(instance), context),
        by=by,
        undo=await _undo(means, run, run_id),
    )
    return await _make(means, earlier, instance)


async def fork(
    means: Means,
    id: str,
    step: type[Step[Any]] | str,
    *,
    value: str | None,
    version: int | None,
    context: object,
    by: str | None,
    workflow: type[WorkflowDefinition] | None = None,
) -> tuple[str, str]:
    """Make a run in which a step of an earlier one, and all that follows it, run again; gives its id and run id."""
    check_by(by)
    key = check_step_key(step)
    if key is None:
        raise DataError("step must be a step class or its key, not None")
    run_id = await find_run(means, id, workflow=workflow)
    run, instance = await _read(means, run_id)
    own = definition_of(instance)
    wanted = own if version is None else _in_version(own, version)
    state = run.steps.get(key)
    if run.undoing is not None and not run.status.final:
        raise refused(Obstacle.COMPENSATING, instance_id=instance.id, source=run_id)
    if state is not None and state.compensates is not None:
        raise ValueError(
            f"step {key} undoes step {state.compensates} of run {run_id}; a fork begins at a step of the workflow"
        )
    if state is None or (state.status is StepStatus.SKIPPED and not state.is_dropped):
        raise ValueError(
            f"run {run_id} of {instance.id} has never started step {shown(key)}; it has started "
            f"{listed([name for name, found in run.steps.items() if found.status is not StepStatus.SKIPPED])}"
        )
    earlier = Earlier(
        run=run,
        run_id=run_id,
        workflow=wanted,
        moves=wanted is not own,
        step=key,
        id=instance.id if value is None else instance_id_of(wanted, value, chance=means.parts.chance),
        initial=await _overlaid(means, run, run_id, wanted, context),
        by=by,
        undo=await _undo(means, run, run_id),
    )
    return await _make(means, earlier, instance)


async def _make(means: Means, earlier: Earlier, instance: Instance) -> tuple[str, str]:
    means.admit(earlier.workflow)
    if asks_routes(earlier):
        kept = sorted(kept_keys(earlier))
        results = await means.storage.read_data(earlier.run_id, DataKind.RESULT, kept)
        initial = earlier.initial or earlier.run.initial or await means.storage.read_initial(earlier.run_id)
        earlier = replace(earlier, results=results, run=replace(earlier.run, initial=initial))
    with means.prepare():
        rerun, messages = await means.parts.driver.rerunner.prepare(earlier, pause=means.pause)
    dispatches = await means.storage.rerun(rerun)
    unsent = {dispatch.activation.step for dispatch in dispatches}
    await means.runner.dispatch([message for message in messages if message.step in unsent])
    new = instance.apart(
        id=earlier.id,
        run_id=rerun.run.run_id,
        workflow_name=rerun.run.name,
        workflow_version=rerun.run.version,
        definition=earlier.workflow,
        status=Status.PENDING,
        forked_from=earlier.run_id,
    )
    means.emitter.workflow_fork(new, {"sequence": 1})
    return earlier.id, rerun.run.run_id


async def _read(means: Means, run_id: str) -> tuple[StoredRun, Instance]:
    # The run as of one moment: steps that completed while it was read count as active.
    run = await means.storage.load(run_id)
    if run is None:
        raise InstanceNotFoundError(f"no run {run_id}; it was never started, its retention is over, or it was deleted")
    states = Snapshot(run, run_id=run_id, reader=None).states
    return replace(run, steps=states), decode_instance(run, reader=means.reader)


async def _undo(means: Means, run: StoredRun, run_id: str) -> list[Undo]:
    # How the completed steps of the run are undone, as of the same moment.
    numbers = undo_numbers(run)
    missing = [number for number in numbers if number not in run.undo]
    texts = {**run.undo, **(await means.storage.read_data(run_id, DataKind.UNDO, missing) if missing else {})}
    return [Undo.parse(texts[number]) for number in numbers]


async def _overlaid(
    means: Means, run: StoredRun, run_id: str, workflow: type[WorkflowDefinition], changes: object
) -> str:
    # The new initial context as JSON text; empty where it stays as it is.
    if changes is None:
        return ""
    before = run.initial if run.initial is not None else await means.storage.read_initial(run_id)
    laid = overlaid(workflow.__data_type__, codec.decode(before), changes, "context")
    return codec.encode_limited(laid, "context", limit=means.settings.max_payload)


def _in_version(own: type[WorkflowDefinition], version: object) -> type[WorkflowDefinition]:
    known = {found.version: found for found in WORKFLOWS.all() if found.family == own.family}
    if isinstance(version, bool) or not isinstance(version, int) or version not in known:
        raise ValueError(
            f"{own.family} has no version {shown(version)}; known: {listed([str(number) for number in sorted(known)])}"
        )
    return known[version]


class Reruns(RuntimeCalls):
    """Retries and forks, of ``Hephaestus``."""

    def retry(
        self,
        id: str,
        *,
        context: Data | None = None,
        by: str | None = None,
        workflow: type[WorkflowDefinition] | None = None,
    ) -> InstanceHandle:
        """Go on with a run that failed or was cancelled, as a new run of the same id; gives its handle.

        What had completed stays completed, with its results. What had failed or had not ended runs again with fresh attempts,
        and with the idempotency keys of the first run. Early events that were kept go along, and so do the keys of events that
        completed steps have taken. ``context`` is laid over the initial context, key by key, and what comes of it fits the type
        that the workflow declares, or is a ``DataError``. ``by`` says who does it, for the history.

        A run is retried once: ``RunStateError`` names the run that came of it, which is the one to retry. It is a
        ``RunStateError`` too where the run has completed, ``AlreadyRunningError`` while a run holds the id (this one
        included), ``DefinitionError`` where this process does not know the workflow. These have stored nothing.

        Of a large run, data is copied in slices. Nothing of the new run starts before all of it is there; if this process
        dies in between, a scheduler copies the rest. After a ``StorageError``, look with ``get`` before trying again.
        """
        self._check_open()
        new_id, run_id = run_now(retry(self._means(), id, context=context, by=by, workflow=workflow))
        return InstanceHandle(id=new_id, run_id=run_id, hephaestus=self)

    def fork(
        self,
        id: str,
        step: type[Step[Any]] | str,
        *,
        value: str | None = None,
        version: int | None = None,
        context: Data | None = None,
        by: str | None = None,
        workflow: type[WorkflowDefinition] | None = None,
    ) -> InstanceHandle:
        """Make a new run of any run, in which ``step`` and all that follows it run again; gives its handle.

        The other steps that completed stay completed; what had not ended elsewhere runs again. All that runs has new
        idempotency keys. ``value`` gives another id: an active run can be forked to another id only. With ``version`` the new
        run belongs to that version, whose transitions say where the events of the kept steps lead; its routes are asked anew.
        ``context`` and ``by`` are as for :meth:`retry`, and so is what happens to large runs.

        ``ValueError`` for a step that the run has not started, for an unknown version, and for a version that lacks steps
        that are kept, or their events, all of which it names. ``AlreadyRunningError`` while a run holds the id,
        ``DefinitionError`` where this process does not know the workflow. These have stored nothing.
        """
        self._check_open()
        new_id, run_id = run_now(
            fork(self._means(), id, step, value=value, version=version, context=context, by=by, workflow=workflow)
        )
        return InstanceHandle(id=new_id, run_id=run_id, hephaestus=self)


class AioReruns(AioCalls):
    """Retries and forks, of ``Hephaestus.aio``."""

    async def retry(
        self,
        id: str,
        *,
        context: Data | None = None,
        by: str | None = None,
        workflow: type[WorkflowDefinition] | None = None,
    ) -> InstanceHandle:
        """Go on with a run that failed or was cancelled, as a new run; as :meth:`Hephaestus.retry`."""
        self._check_open()
        new_id, run_id = await retry(self._means(), id, context=context, by=by, workflow=workflow)
        return InstanceHandle(id=new_id, run_id=run_id, hephaestus=self._hephaestus)

    async def fork(
        self,
        id: str,
        step: type[Step[Any]] | str,
        *,
        value: str | None = None,
        version: int | None = None,
        context: Data | None = None,
        by: str | None = None,
        workflow: type[WorkflowDefinition] | None = None,
    ) -> InstanceHandle:
        """Make a new run of any run, in which ``step`` and what follows run again; as :meth:`Hephaestus.fork`."""
        self._check_open()
        new_id, run_id = await fork(
            self._means(), id, step, value=value, version=version, context=context, by=by, workflow=workflow
        )
        return InstanceHandle(id=new_id, run_id=run_id, hephaestus=self._hephaestus)


class WorkflowReruns(WorkflowCalls, TypedWorkflow[InputT]):
    """Retries and forks, of a workflow class."""

    @classmethod
    def retry(
        cls, value: str, *, context: InputT | Mapping[str, Any] | None = None, by: str | None = None
    ) -> InstanceHandle:
        """Go on with a run that failed or was cancelled, as a new run; see :meth:`Hephaestus.retry`."""
        return cls._runtime(Reruns).retry(cls._id(value, "retry"), context=context, by=by, workflow=cls)

    @classmethod
    def fork(
        cls,
        of: str,
        /,
        step: type[Step[Any]] | str,
        *,
        value: str | None = None,
        version: int | None = None,
        context: InputT | Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> InstanceHandle:
        """Make a new run of the run ``of``, in which ``step`` and what follows run again; see :meth:`Hephaestus.fork`."""
        instance_id = cls._id(of, "fork")
        return cls._runtime(Reruns).fork(
            instance_id, step, value=value, version=version, context=context, by=by, workflow=cls
        )


class AioWorkflowReruns(AioWorkflowCalls[InputT]):
    """Retries and forks, of a workflow class's ``aio``."""

    async def retry(
        self, value: str, *, context: InputT | Mapping[str, Any] | None = None, by: str | None = None
    ) -> InstanceHandle:
        """Go on with a run that failed or was cancelled, as a new run; as :meth:`Hephaestus.retry`."""
        return await self._runtime(AioReruns).retry(
            self._id(value, "retry"), context=context, by=by, workflow=self._workflow
        )

    async def fork(
        self,
        of: str,
        /,
        step: type[Step[Any]] | str,
        *,
        value: str | None = None,
        version: int | None = None,
        context: InputT | Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> InstanceHandle:
        """Make a new run of the run ``of``, in which ``step`` and what follows run again; as :meth:`Hephaestus.fork`."""
        return await self._runtime(AioReruns).fork(
            self._id(of, "fork"), step, value=value, version=version, context=context, by=by, workflow=self._workflow
        )
