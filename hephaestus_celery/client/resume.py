"""Delivering an event from outside to the step that waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hephaestus_celery.client.parts import Parts
from hephaestus_celery.client.resolve import read_run
from hephaestus_celery.client.waiting import can_still_wait, declares, not_waiting, too_many
from hephaestus_celery.core.definition.step import Step, check_step_key
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.values.carried import check_mapping
from hephaestus_celery.core.values.formatting import listed, shown
from hephaestus_celery.core.values.inputs import check_event_key
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.names import is_name
from hephaestus_celery.exceptions import (
    AmbiguousResumeError,
    InstanceNotFoundError,
    NotWaitingError,
    TooManyEventsError,
)
from hephaestus_celery.runners.messages import Message, messages
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.interventions import Delivery, DeliveryReport

GRACE_SECONDS = 0.5
"""How long ``resume`` waits for a step that is being executed: it may have returned ``Async`` a moment ago."""


def resume(
    parts: Parts,
    id: str,
    event: str,
    data: Mapping[str, Any] | None,
    *,
    step: type[Step] | str | None,
    workflow: type[WorkflowDefinition] | None,
    keep_early: bool,
    key: str | None,
) -> None:
    """Deliver an event to a run; see :meth:`Hephaestus.resume`."""
    if not is_name(event):
        raise NotWaitingError(f"no step waits for {shown(event)}, which can't name an event")
    target = check_step_key(step)
    check_event_key(key)
    text = codec.encode_limited(
        check_mapping({} if data is None else data, "data"), "data", limit=parts.driver.settings.max_payload
    )
    instance = read_run(parts.storage, id, workflow=workflow)
    keep = keep_early and can_still_wait(instance, event, target)
    report = _deliver(parts, instance, event, text, step=target, keep=keep, key=key)
    if report.outcome is Delivered.ACCEPTED:
        parts.runner.dispatch(_messages(instance, report.dispatches))
    elif report.outcome not in (Delivered.KEPT, Delivered.REPEATED):
        raise _refusal(parts, instance, event, report, step=target, keep_early=keep_early)


def _deliver(
    parts: Parts, instance: Instance, event: str, data: str, *, step: str | None, keep: bool, key: str | None
) -> DeliveryReport:
    deadline = parts.clock.monotonic_ns() + int(GRACE_SECONDS * 1e9)
    while True:
        report = parts.storage.deliver(
            Delivery(
                operation=parts.chance.token(),
                run_id=instance.run_id,
                name=event,
                data=data,
                step=step,
                keep=keep,
                key=key,
            )
        )
        if report.outcome is not Delivered.NOT_WAITING or parts.clock.monotonic_ns() > deadline:
            return report
        if not any(declares(instance, executing, event) for executing in report.executing):
            return report
        # A step that is being executed may have returned Async already, its commit being on the way.
        parts.clock.sleep(0.01)


def _refusal(
    parts: Parts, instance: Instance, event: str, report: DeliveryReport, *, step: str | None, keep_early: bool
) -> Exception:
    match report.outcome:
        case Delivered.AMBIGUOUS:
            return AmbiguousResumeError(
                f"{listed(sorted(report.steps))} of {instance.id} wait for {event!r}; name the one that is meant: step=..."
            )
        case Delivered.TOO_MANY_KEPT | Delivered.TOO_MANY_KEYS:
            return TooManyEventsError(too_many(instance, event, report))
        case Delivered.UNKNOWN_RUN:
            return InstanceNotFoundError(f"no run {instance.run_id}: its retention is over")
        case _:
            now = read_run(parts.storage, instance.run_id)  # the reason may have come about since it was read
            return NotWaitingError(not_waiting(now, event, step, report, keep_early=keep_early))


def _messages(instance: Instance, dispatches: Sequence[DispatchStep]) -> list[Message]:
    return messages(
        instance.workflow_name,
        instance.workflow_version,
        instance.run_id,
        dispatches,
        headers=instance.message_headers,
    )
