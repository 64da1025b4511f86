"""Cancelling: ends a run, revokes its messages, and interrupts its processes where that is asked for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

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
from hephaestus_celery.core.definition.workflow import InputT, WorkflowDefinition
from hephaestus_celery.core.values.cancel_report import CancelReport
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.inputs import check_by
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import DataError, NotCancellableError
from hephaestus_celery.runners.messages import messages
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.storage.resume_and_cancel import Cancellation, CancelRequest

if TYPE_CHECKING:
    from hephaestus_celery.runners.port import AsyncRunner

logger = logging.getLogger("hephaestus_celery")


async def cancel(
    means: Means,
    id: str,
    reason: str | None,
    *,
    compensate: bool,
    terminate: bool,
    by: str | None,
    workflow: type[WorkflowDefinition] | None,
) -> CancelReport:
    """End a run, and its tasks; see :meth:`Hephaestus.cancel`."""
    check_reason(means, reason)
    check_by(by)
    run_id = await find_run(means, id, workflow=workflow)
    request = CancelRequest(
        run_id=run_id,
        operation=means.token(),
        reason=reason,
        entry=encode_entry(kind="cancel", reason=reason, by=by),
        durations=means.durations,
        compensate=compensate,
    )
    cancelled = await means.storage.cancel(request)
    if cancelled is None:
        ended = await read_run(means, run_id)
        if ended.compensating:
            raise NotCancellableError(
                f"{ended.id} is undoing already what had completed, and ends then; to end it at once, cancel it without compensate"
            )
        raise NotCancellableError(f"{ended.id} has ended already ({ended.status}); only an active run can be cancelled")
    instance = decode_instance(cancelled.run, reader=means.reader)
    if instance.status.final:
        means.emitter.workflow_cancel(instance, {"sequence": cancelled.sequence, "reason": reason})
    else:
        means.emitter.workflow_compensate(instance, {"sequence": cancelled.sequence})
        headers = instance.message_headers
        sent = messages(
            instance.workflow_name, instance.workflow_version, instance.run_id, cancelled.dispatches, headers=headers
        )
        await means.runner.dispatch(sent)
    return await _end_tasks(means.runner, instance, cancelled, terminate=terminate)


def check_reason(means: Means, reason: object) -> None:
    """The reason of a cancellation: a text of limited size, or None."""
    if reason is not None and not isinstance(reason, str):
        raise DataError(f"reason must be a string or None, not {shown(reason)}")
    codec.encode_limited(reason, "reason", limit=means.settings.max_payload)


async def _end_tasks(
    runner: AsyncRunner, instance: Instance, cancelled: Cancellation, *, terminate: bool
) -> CancelReport:
    # Revokes the messages that no worker has claimed; with ``terminate`` interrupts what is being executed.
    sent = messages(instance.workflow_name, instance.workflow_version, instance.run_id, cancelled.sent)
    holders = {task_id: key for key, (task_id, _) in cancelled.held.items() if task_id is not None}
    await runner.revoke([*(message.task_id for message in sent), *holders])
    if not terminate:
        return CancelReport(executing=frozenset(cancelled.held))
    workers = {
        task_id: worker for task_id, worker in cancelled.held.values() if task_id is not None and worker is not None
    }
    interrupted = frozenset(holders[task_id] for task_id in await runner.interrupt(workers) if task_id in holders)
    others = sorted(cancelled.held.keys() - interrupted)
    if others:
        logger.warning(
            "[%s] is cancelled, but %s could not be interrupted: only prefork pools can, and only while the worker replies. What is "
            "being executed goes on, and its result is discarded; let long steps ask context.cancelled()",
            instance.id,
            ", ".join(others),
        )
    return CancelReport(executing=frozenset(cancelled.held), interrupted=interrupted)


class Cancels(RuntimeCalls):
    """Cancellations, of ``Hephaestus``."""

    def cancel(
        self,
        id: str,
        reason: str | None = None,
        *,
        compensate: bool = False,
        terminate: bool = False,
        by: str | None = None,
        workflow: type[WorkflowDefinition] | None = None,
    ) -> CancelReport:
        """End a run: later results are dropped, no new step starts, its id is free at once.

        Steps that no worker has claimed do not start. A step that is being executed goes on, and its result is discarded;
        it may ask ``context.cancelled()``. With ``terminate`` it is interrupted where its pool can do so:
        in prefork pools, by Celery's ``SoftTimeLimitExceeded``. The report names the steps that were being executed, and
        those that were interrupted; of the others a warning is logged. ``by`` says who ends it, for the
        history.

        With ``compensate`` the run undoes first what has completed, the last step first, if its workflow has ``compensations``. It
        is ``running``, and its id taken, until then. A run that undoes already is ended at once by a call without it.
        ``NotCancellableError`` when the run has ended already, or with ``compensate`` undoes already.
        """
        return run_now(
            cancel(self._means(), id, reason, compensate=compensate, terminate=terminate, by=by, workflow=workflow)
        )


class AioCancels(AioCalls):
    """Cancellations, of ``Hephaestus.aio``."""

    async def cancel(
        self,
        id: str,
        reason: str | None = None,
        *,
        compensate: bool = False,
        terminate: bool = False,
        by: str | None = None,
        workflow: type[WorkflowDefinition] | None = None,
    ) -> CancelReport:
        """End a run; as :meth:`Hephaestus.cancel`."""
        return await cancel(
            self._means(), id, reason, compensate=compensate, terminate=terminate, by=by, workflow=workflow
        )


class WorkflowCancels(WorkflowCalls):
    """Cancellations, of a workflow class."""

    @classmethod
    def cancel(
        cls,
        value: str,
        reason: str | None = None,
        *,
        compensate: bool = False,
        terminate: bool = False,
        by: str | None = None,
    ) -> CancelReport:
        """End a run; see :meth:`Hephaestus.cancel`."""
        return cls._runtime(Cancels).cancel(
            cls._id(value, "cancel"), reason, compensate=compensate, terminate=terminate, by=by, workflow=cls
        )


class AioWorkflowCancels(AioWorkflowCalls[InputT]):
    """Cancellations, of a workflow class's ``aio``."""

    async def cancel(
        self,
        value: str,
        reason: str | None = None,
        *,
        compensate: bool = False,
        terminate: bool = False,
        by: str | None = None,
    ) -> CancelReport:
        """End a run; as :meth:`Hephaestus.cancel`."""
        return await self._runtime(AioCancels).cancel(
            self._id(value, "cancel"),
            reason,
            compensate=compensate,
            terminate=terminate,
            by=by,
            workflow=self._workflow,
        )


class HandleCancels(HandleCalls):
    """Cancellations, of a handle."""

    def cancel(
        self,
        reason: str | None = None,
        *,
        compensate: bool = False,
        terminate: bool = False,
        by: str | None = None,
    ) -> CancelReport:
        """End the run; see :meth:`Hephaestus.cancel`."""
        return self._runtime(Cancels).cancel(self.run_id, reason, compensate=compensate, terminate=terminate, by=by)


class AioHandleCancels(AioHandleCalls):
    """Cancellations, of a handle's ``aio``."""

    async def cancel(
        self,
        reason: str | None = None,
        *,
        compensate: bool = False,
        terminate: bool = False,
        by: str | None = None,
    ) -> CancelReport:
        """End the run; as :meth:`Hephaestus.cancel`."""
        return await self._runtime(AioCancels).cancel(
            self.run_id, reason, compensate=compensate, terminate=terminate, by=by
        )
