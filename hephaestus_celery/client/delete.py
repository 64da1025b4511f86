"""Deleting an ended run, with all that is stored of it."""

from __future__ import annotations

from hephaestus_celery.client.calls import AioCalls, AioWorkflowCalls, RuntimeCalls, WorkflowCalls
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.resolve import find_newest, read_run
from hephaestus_celery.core.definition.workflow import InputT, WorkflowDefinition
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import InstanceNotFoundError, NotDeletableError
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.schema import written_by_newer


async def delete(means: Means, id: str, *, workflow: type[WorkflowDefinition] | None) -> None:
    """Delete an ended run; see :meth:`Hephaestus.delete`."""
    run_id = await find_newest(means, id, workflow=workflow)
    [left] = await means.storage.delete_many([run_id], operation=means.token())
    if left is None:
        return
    if left.schema is not None:
        raise written_by_newer(run_id, left.schema)
    if left.status is None:
        raise InstanceNotFoundError(f"no run {run_id}; it was never started, its retention is over, or it was deleted")
    instance = await read_run(means, run_id)
    raise NotDeletableError(f"{instance.id}: {why_not_deleted(run_id, left)}")


def why_not_deleted(run_id: str, left: Untouched) -> str:
    """Why a run was not deleted, as part of a sentence."""
    if left.schema is not None:
        return str(written_by_newer(run_id, left.schema))
    if left.status is None:
        return "it is gone: its retention is over, or it was deleted"
    if left.copied_by is not None:
        return (
            f"run {left.copied_by} is being copied from run {run_id}; delete it when that is whole, which takes seconds"
        )
    return f"run {run_id} is active ({left.status}); only a run that has ended can be deleted: wait for its end, or cancel it"


class Deletes(RuntimeCalls):
    """Deletions, of ``Hephaestus``."""

    def delete(self, id: str, *, workflow: type[WorkflowDefinition] | None = None) -> None:
        """Delete an ended run: all that is stored of it goes at once, data, history, timers, keys and indexes.

        An instance id means its newest run; earlier ones are deleted by their run ids. What a retry or a fork has made of the
        run stays. ``NotDeletableError`` when the run is active, or while such a run is still being copied from it; the error
        names that run. ``InstanceNotFoundError`` when there is none. After a ``StorageError`` it may be deleted, and only the
        reply was lost: then a second call finds no run, or, by an instance id, the run before.
        """
        run_now(delete(self._means(), id, workflow=workflow))


class AioDeletes(AioCalls):
    """Deletions, of ``Hephaestus.aio``."""

    async def delete(self, id: str, *, workflow: type[WorkflowDefinition] | None = None) -> None:
        """Delete an ended run; as :meth:`Hephaestus.delete`."""
        await delete(self._means(), id, workflow=workflow)


class WorkflowDeletes(WorkflowCalls):
    """Deletions, of a workflow class."""

    @classmethod
    def delete(cls, value: str) -> None:
        """Delete the newest run of an instance; see :meth:`Hephaestus.delete`."""
        cls._runtime(Deletes).delete(cls._id(value, "delete"), workflow=cls)


class AioWorkflowDeletes(AioWorkflowCalls[InputT]):
    """Deletions, of a workflow class's ``aio``."""

    async def delete(self, value: str) -> None:
        """Delete the newest run of an instance; as :meth:`Hephaestus.delete`."""
        await self._runtime(AioDeletes).delete(self._id(value, "delete"), workflow=self._workflow)
