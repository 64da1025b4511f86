"""Pausing: no step of a run, or of all runs of a workflow, is begun until it goes on."""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeGuard

from hephaestus_celery.client.calls import (
    AioCalls,
    AioHandleCalls,
    AioWorkflowCalls,
    HandleCalls,
    RuntimeCalls,
    WorkflowCalls,
)
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.resolve import find_run, read_run
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.workflow import InputT, WorkflowDefinition
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.inputs import check_by
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import RunStateError
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.storage.pauses import PauseOutcome, PauseRequest


class Whole(Enum):
    """What stands in the place of a value where the whole workflow is meant: ``None`` may be a value that is missing."""

    WORKFLOW = "workflow"


WHOLE_WORKFLOW: Final = Whole.WORKFLOW


async def pause_run(means: Means, id: str, *, by: str | None, workflow: type[WorkflowDefinition] | None) -> bool:
    """Pause a run; see :meth:`Hephaestus.pause`."""
    request = await _request(means, id, kind="pause", by=by, workflow=workflow)
    report = await means.storage.pause(request)
    if report.outcome is PauseOutcome.ENDED:
        ended = await read_run(means, request.run_id)
        raise RunStateError(f"{ended.id} has ended already ({ended.status}); only an active run can be paused")
    if report.run is not None:
        instance = decode_instance(report.run, reader=means.reader)
        means.emitter.workflow_pause(instance, {"sequence": report.sequence, "by": by})
    return report.outcome is PauseOutcome.CHANGED


async def unpause_run(means: Means, id: str, *, by: str | None, workflow: type[WorkflowDefinition] | None) -> bool:
    """Let a run go on; see :meth:`Hephaestus.unpause`."""
    report = await means.storage.unpause(await _request(means, id, kind="unpause", by=by, workflow=workflow))
    if report.run is not None:
        instance = decode_instance(report.run, reader=means.reader)
        means.emitter.workflow_unpause(instance, {"sequence": report.sequence, "by": by})
    await means.runner.dispatch(())
    return report.outcome is PauseOutcome.CHANGED


async def pause_workflow(means: Means, workflow: type[WorkflowDefinition] | str, *, by: str | None) -> bool:
    """Pause a workflow; see :meth:`Hephaestus.pause_workflow`."""
    check_by(by)
    family = _family(workflow)
    changed = await means.storage.pause_workflow(family, operation=means.token(), by=by, durations=means.durations)
    if changed:
        means.emitter.workflow_pause(None, {"workflow": _shown_as(workflow, family), "by": by})
    return changed


async def unpause_workflow(means: Means, workflow: type[WorkflowDefinition] | str, *, by: str | None) -> bool:
    """Let a workflow go on; see :meth:`Hephaestus.unpause_workflow`."""
    check_by(by)
    family = _family(workflow)
    changed = await means.storage.unpause_workflow(family, operation=means.token(), durations=means.durations)
    if changed:
        means.emitter.workflow_unpause(None, {"workflow": _shown_as(workflow, family), "by": by})
    await means.runner.dispatch(())
    return changed


async def _request(
    means: Means, id: str, *, kind: str, by: str | None, workflow: type[WorkflowDefinition] | None
) -> PauseRequest:
    check_by(by)
    return PauseRequest(
        run_id=await find_run(means, id, workflow=workflow),
        operation=means.token(),
        entry=encode_entry(kind=kind, by=by),
        durations=means.durations,
        by=by,
    )


def _family(workflow: object) -> str:
    if isinstance(workflow, str) and workflow:
        return workflow
    if _is_defined(workflow):
        return workflow.family
    raise ValueError(f"a workflow is named by its class, or by its name as it is stored, not by {shown(workflow)}")


def _is_defined(value: object) -> TypeGuard[type[WorkflowDefinition]]:
    return isinstance(value, type) and issubclass(value, WorkflowDefinition) and hasattr(value, "family")


def _shown_as(workflow: type[WorkflowDefinition] | str, family: str) -> type[WorkflowDefinition] | str:
    # The class where this process has it, as in other events.
    if not isinstance(workflow, str):
        return workflow
    return next((known for known in WORKFLOWS.all() if known.family == family), family)


class Pausing(RuntimeCalls):
    """Pauses, of ``Hephaestus``."""

    def pause(self, id: str, *, by: str | None = None, workflow: type[WorkflowDefinition] | None = None) -> bool:
        """Pause a run: none of its steps is claimed any more; what is being executed ends, and is committed.

        Timers, backoffs and events are accepted and kept. :meth:`unpause` lets the run go on with them, in the order in which
        they came. A paused run may be cancelled. ``by`` says who does it, for the history and telemetry. Gives whether
        something has changed: a second pause changes nothing. ``RunStateError`` when the run has ended.
        """
        return run_now(pause_run(self._means(), id, by=by, workflow=workflow))

    def unpause(self, id: str, *, by: str | None = None, workflow: type[WorkflowDefinition] | None = None) -> bool:
        """Let a paused run go on at once, with what was accepted meanwhile, in the order in which it came.

        The run goes on when its workflow is not paused either. A scheduler sends what was held, a slice at a time, so nothing
        is lost when the caller is. Gives whether something has changed: a run that is not paused stays as it is.
        """
        return run_now(unpause_run(self._means(), id, by=by, workflow=workflow))

    def pause_workflow(self, workflow: type[WorkflowDefinition] | str, *, by: str | None = None) -> bool:
        """Pause all runs of a workflow, in all versions, and those that are started later: they stay ``pending``.

        ``workflow`` is a class (one of its versions means them all) or the name as it is stored. The pause holds for every
        worker from its next claim on; with several partitions, from when the call returns. It survives restarts. A run that
        is paused itself goes on when both pauses are gone. Gives whether something has changed. If the call was interrupted,
        repeat it: it reaches all partitions.
        """
        return run_now(pause_workflow(self._means(), workflow, by=by))

    def unpause_workflow(self, workflow: type[WorkflowDefinition] | str, *, by: str | None = None) -> bool:
        """Let the runs of a paused workflow go on, but for those that are paused themselves; see :meth:`unpause`."""
        return run_now(unpause_workflow(self._means(), workflow, by=by))


class AioPausing(AioCalls):
    """Pauses, of ``Hephaestus.aio``."""

    async def pause(self, id: str, *, by: str | None = None, workflow: type[WorkflowDefinition] | None = None) -> bool:
        """Pause a run; as :meth:`Hephaestus.pause`."""
        return await pause_run(self._means(), id, by=by, workflow=workflow)

    async def unpause(
        self, id: str, *, by: str | None = None, workflow: type[WorkflowDefinition] | None = None
    ) -> bool:
        """Let a paused run go on at once; as :meth:`Hephaestus.unpause`."""
        return await unpause_run(self._means(), id, by=by, workflow=workflow)

    async def pause_workflow(self, workflow: type[WorkflowDefinition] | str, *, by: str | None = None) -> bool:
        """Pause all runs of a workflow; as :meth:`Hephaestus.pause_workflow`."""
        return await pause_workflow(self._means(), workflow, by=by)

    async def unpause_workflow(self, workflow: type[WorkflowDefinition] | str, *, by: str | None = None) -> bool:
        """Let the runs of a paused workflow go on; as :meth:`Hephaestus.unpause_workflow`."""
        return await unpause_workflow(self._means(), workflow, by=by)


class WorkflowPauses(WorkflowCalls):
    """Pauses, of a workflow class."""

    @classmethod
    def pause(cls, value: str | Whole = WHOLE_WORKFLOW, *, by: str | None = None) -> bool:
        """Pause a run; without a value the whole workflow: all of its versions, and future starts.

        See :meth:`Hephaestus.pause` and :meth:`Hephaestus.pause_workflow`.
        """
        if value is WHOLE_WORKFLOW:
            return cls._runtime(Pausing).pause_workflow(cls, by=by)
        return cls._runtime(Pausing).pause(cls._id(value, "pause"), by=by, workflow=cls)

    @classmethod
    def unpause(cls, value: str | Whole = WHOLE_WORKFLOW, *, by: str | None = None) -> bool:
        """Let a run go on; without a value the whole workflow.

        See :meth:`Hephaestus.unpause` and :meth:`Hephaestus.unpause_workflow`.
        """
        if value is WHOLE_WORKFLOW:
            return cls._runtime(Pausing).unpause_workflow(cls, by=by)
        return cls._runtime(Pausing).unpause(cls._id(value, "unpause"), by=by, workflow=cls)


class AioWorkflowPauses(AioWorkflowCalls[InputT]):
    """Pauses, of a workflow class's ``aio``."""

    async def pause(self, value: str | Whole = WHOLE_WORKFLOW, *, by: str | None = None) -> bool:
        """Pause a run; without a value the whole workflow; as :meth:`Hephaestus.pause` and :meth:`Hephaestus.pause_workflow`."""
        calls = self._runtime(AioPausing)
        if value is WHOLE_WORKFLOW:
            return await calls.pause_workflow(self._workflow, by=by)
        return await calls.pause(self._id(value, "pause"), by=by, workflow=self._workflow)

    async def unpause(self, value: str | Whole = WHOLE_WORKFLOW, *, by: str | None = None) -> bool:
        """Let a run go on; without a value the whole workflow; as :meth:`Hephaestus.unpause`."""
        calls = self._runtime(AioPausing)
        if value is WHOLE_WORKFLOW:
            return await calls.unpause_workflow(self._workflow, by=by)
        return await calls.unpause(self._id(value, "unpause"), by=by, workflow=self._workflow)


class HandlePauses(HandleCalls):
    """Pauses, of a handle."""

    def pause(self, *, by: str | None = None) -> bool:
        """Pause the run; see :meth:`Hephaestus.pause`."""
        return self._runtime(Pausing).pause(self.run_id, by=by)

    def unpause(self, *, by: str | None = None) -> bool:
        """Let the run go on; see :meth:`Hephaestus.unpause`."""
        return self._runtime(Pausing).unpause(self.run_id, by=by)


class AioHandlePauses(AioHandleCalls):
    """Pauses, of a handle's ``aio``."""

    async def pause(self, *, by: str | None = None) -> bool:
        """Pause the run; as :meth:`Hephaestus.pause`."""
        return await self._runtime(AioPausing).pause(self.run_id, by=by)

    async def unpause(self, *, by: str | None = None) -> bool:
        """Let the run go on; as :meth:`Hephaestus.unpause`."""
        return await self._runtime(AioPausing).unpause(self.run_id, by=by)
