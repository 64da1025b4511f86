"""Resuming: checks an event from outside, and delivers it to the step that waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hephaestus_celery.client.calls import (
    AioCalls,
    AioHandleCalls,
    AioWorkflowCalls,
    HandleCalls,
    RuntimeCalls,
    WorkflowCalls,
)
from hephaestus_celery.client.expected_events import can_still_wait, declares, not_waiting, too_many
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.resolve import ambiguous, as_value, not_found, read_run, reference_to
from hephaestus_celery.client.typed_events import checked_data
from hephaestus_celery.core.definition.step import Step, check_step_key
from hephaestus_celery.core.definition.workflow import InputT, WorkflowDefinition
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.values.data_types import Data
from hephaestus_celery.core.values.formatting import listed, shown
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.inputs import check_by, check_event_key
from hephaestus_celery.core.values.names import is_name, is_reserved
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import (
    AmbiguousResumeError,
    NotWaitingError,
    TooManyEventsError,
)
from hephaestus_celery.runners.messages import Message, messages
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.instances import read_headers
from hephaestus_celery.storage.resume_and_cancel import Delivery, DeliveryReport, RunAddress

GRACE_SECONDS = 0.5
"""How long ``resume`` waits for a step that is being executed: it may have returned ``Async`` a moment ago."""


async def resume(
    means: Means,
    id: str,
    event: str,
    data: object,
    *,
    step: type[Step[Any]] | str | None,
    workflow: type[WorkflowDefinition] | None,
    keep_early: bool,
    key: str | None,
    by: str | None,
) -> None:
    """Deliver an event to a run; see :meth:`Hephaestus.resume`."""
    if is_reserved(event):
        raise NotWaitingError(f"no step waits for {shown(event)}: names that begin with @ are the engine's")
    if not is_name(event):
        raise NotWaitingError(f"no step waits for {shown(event)}, which can't name an event")
    target = check_step_key(step)
    check_event_key(key)
    check_by(by)
    reference = reference_to(id, workflow=workflow)
    checked = await checked_data(means, id, event, data, step=target, workflow=workflow, keep_early=keep_early)
    text = codec.encode_limited(checked, "data", limit=means.settings.max_payload)
    delivery = Delivery(
        operation=means.token(),
        run=reference,
        name=event,
        data=text,
        step=target,
        keep=False,
        durations=means.durations,
        key=key,
        by=by,
    )
    report = await means.storage.deliver(delivery)
    if report.outcome is Delivered.UNKNOWN_RUN and workflow is not None and is_run_id(reference.id):
        delivery = replace(delivery, run=as_value(reference, workflow))
        report = await means.storage.deliver(delivery)
    if report.outcome is Delivered.NOT_WAITING and report.run is not None:
        report = await _deliver_later(means, delivery, report, report.run.run_id, keep_early=keep_early)
    if report.outcome in (Delivered.KEPT, Delivered.REPEATED):
        return
    if report.outcome is Delivered.SEVERAL:
        raise ambiguous(delivery.run, report.active)
    if report.outcome is Delivered.UNKNOWN_RUN or report.run is None:
        raise not_found(delivery.run, workflow=workflow)
    if report.outcome is not Delivered.ACCEPTED:
        raise await _refusal(means, report.run.run_id, delivery, report, keep_early=keep_early)
    await means.runner.dispatch(_messages(report.run, report.dispatches))


async def _deliver_later(
    means: Means, delivery: Delivery, report: DeliveryReport, run_id: str, *, keep_early: bool
) -> DeliveryReport:
    # Nothing waits for it: it is kept, or delivered again while a step is being executed that may have returned Async a
    # moment ago, its commit being on the way.
    deadline = means.parts.clock.monotonic_ns() + int(GRACE_SECONDS * 1e9)
    instance = await read_run(means, run_id)
    keep = keep_early and can_still_wait(instance, delivery.name, delivery.step)
    delivery = replace(delivery, run=RunReference(id=run_id), keep=keep)
    if delivery.key is not None and not keep:
        # Another sender may have brought the same event between the first look and this one: then it is no mistake.
        again = await means.storage.deliver(replace(delivery, operation=means.token()))
        if again.outcome is not Delivered.NOT_WAITING:
            return again
    while keep or any(declares(instance, executing, delivery.name) for executing in report.executing):
        report = await means.storage.deliver(replace(delivery, operation=means.token()))
        if report.outcome is not Delivered.NOT_WAITING or means.parts.clock.monotonic_ns() > deadline:
            return report
        keep = False
        await means.pause(0.01)
    return report


async def _refusal(
    means: Means, run_id: str, delivery: Delivery, report: DeliveryReport, *, keep_early: bool
) -> Exception:
    instance = await read_run(means, run_id)
    match report.outcome:
        case Delivered.AMBIGUOUS:
            return AmbiguousResumeError(
                f"{listed(sorted(report.steps))} of {instance.id} wait for {delivery.name!r}; name the one that is meant: "
                "step=..."
            )
        case Delivered.TOO_MANY_KEPT | Delivered.TOO_MANY_KEYS:
            return TooManyEventsError(too_many(instance, delivery.name, report))
        case _:
            return NotWaitingError(not_waiting(instance, delivery.name, delivery.step, report, keep_early=keep_early))


def _messages(run: RunAddress, dispatches: Sequence[DispatchStep]) -> list[Message]:
    return messages(run.name, run.version, run.run_id, dispatches, headers=read_headers(run.message_headers))


class Resumes(RuntimeCalls):
    """Resumes, of ``Hephaestus``."""

    def resume(
        self,
        id: str,
        event: str,
        data: Data | None = None,
        *,
        step: type[Step[Any]] | str | None = None,
        workflow: type[WorkflowDefinition] | None = None,
        keep_early: bool = False,
        key: str | None = None,
        by: str | None = None,
    ) -> None:
        """Deliver an event to the one waiting step that declares it, or to ``step``; ``data`` becomes its result.

        A worker applies it once, however often and from wherever it is sent. These errors record nothing:
        ``NotWaitingError`` when no step waits for it, ``AmbiguousResumeError`` when several do. With ``keep_early`` an
        event that comes before its step waits is kept, and delivered when one does. Several events of one name go to one
        step each, in the order in which they came.

        ``key`` names the event itself, such as the id that a webhook comes with. The run takes an event with this key
        once, whatever its name and data: a repetition is accepted and changes nothing, also when the run has ended. A
        run keeps 100 early events and 10 000 keys; more are a ``TooManyEventsError``.
        ``data`` is a mapping, or an object of the type that the waiting step declares (``WaitForEvent[Payment]``). It is
        validated here, if this process knows the workflow: ``DataError`` if it does not fit, which records nothing. ``by`` says who sends the event, for the
        history entry of the resume.
        """
        run_now(
            resume(self._means(), id, event, data, step=step, workflow=workflow, keep_early=keep_early, key=key, by=by)
        )


class AioResumes(AioCalls):
    """Resumes, of ``Hephaestus.aio``."""

    async def resume(
        self,
        id: str,
        event: str,
        data: Data | None = None,
        *,
        step: type[Step[Any]] | str | None = None,
        workflow: type[WorkflowDefinition] | None = None,
        keep_early: bool = False,
        key: str | None = None,
        by: str | None = None,
    ) -> None:
        """Deliver an event to the one waiting step that declares it; as :meth:`Hephaestus.resume`."""
        await resume(
            self._means(), id, event, data, step=step, workflow=workflow, keep_early=keep_early, key=key, by=by
        )


class WorkflowResumes(WorkflowCalls):
    """Resumes, of a workflow class."""

    @classmethod
    def resume(
        cls,
        value: str,
        event: str,
        data: Data | None = None,
        *,
        step: type[Step[Any]] | str | None = None,
        keep_early: bool = False,
        key: str | None = None,
        by: str | None = None,
    ) -> None:
        """Deliver an event to a waiting step of an instance; see :meth:`Hephaestus.resume`."""
        instance_id = cls._id(value, "resume")
        cls._runtime(Resumes).resume(
            instance_id, event, data, step=step, workflow=cls, keep_early=keep_early, key=key, by=by
        )


class AioWorkflowResumes(AioWorkflowCalls[InputT]):
    """Resumes, of a workflow class's ``aio``."""

    async def resume(
        self,
        value: str,
        event: str,
        data: Data | None = None,
        *,
        step: type[Step[Any]] | str | None = None,
        keep_early: bool = False,
        key: str | None = None,
        by: str | None = None,
    ) -> None:
        """Deliver an event to a waiting step of an instance; as :meth:`Hephaestus.resume`."""
        instance_id = self._id(value, "resume")
        await self._runtime(AioResumes).resume(
            instance_id, event, data, step=step, workflow=self._workflow, keep_early=keep_early, key=key, by=by
        )


class HandleResumes(HandleCalls):
    """Resumes, of a handle."""

    def resume(
        self,
        event: str,
        data: Data | None = None,
        *,
        step: type[Step[Any]] | str | None = None,
        keep_early: bool = False,
        key: str | None = None,
        by: str | None = None,
    ) -> None:
        """Deliver an event; see :meth:`Hephaestus.resume`."""
        self._runtime(Resumes).resume(self.run_id, event, data, step=step, keep_early=keep_early, key=key, by=by)


class AioHandleResumes(AioHandleCalls):
    """Resumes, of a handle's ``aio``."""

    async def resume(
        self,
        event: str,
        data: Data | None = None,
        *,
        step: type[Step[Any]] | str | None = None,
        keep_early: bool = False,
        key: str | None = None,
        by: str | None = None,
    ) -> None:
        """Deliver an event; as :meth:`Hephaestus.resume`."""
        await self._runtime(AioResumes).resume(
            self.run_id, event, data, step=step, keep_early=keep_early, key=key, by=by
        )
