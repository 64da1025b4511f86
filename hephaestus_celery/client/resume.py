"""Resuming: checks an event from outside, and delivers it to the step that waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hephaestus_celery.client.expected_events import can_still_wait, declares, not_waiting, too_many
from hephaestus_celery.client.parts import Parts
from hephaestus_celery.client.resolve import ambiguous, as_value, not_found, read_run, reference_to
from hephaestus_celery.core.definition.step import Step, check_step_key
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.values.formatting import listed, shown
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.inputs import check_event_key
from hephaestus_celery.core.values.json_values import check_mapping
from hephaestus_celery.core.values.names import is_name
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
    reference = reference_to(id, workflow=workflow)
    delivery = Delivery(
        operation=parts.chance.token(),
        run=reference,
        name=event,
        data=text,
        step=target,
        keep=False,
        durations=parts.driver.durations,
        key=key,
    )
    report = parts.storage.deliver(delivery)
    if report.outcome is Delivered.UNKNOWN_RUN and workflow is not None and is_run_id(reference.id):
        delivery = replace(delivery, run=as_value(reference, workflow))
        report = parts.storage.deliver(delivery)
    if report.outcome is Delivered.NOT_WAITING and report.run is not None:
        report = _deliver_later(parts, delivery, report, report.run.run_id, keep_early=keep_early)
    if report.outcome in (Delivered.KEPT, Delivered.REPEATED):
        return
    if report.outcome is Delivered.SEVERAL:
        raise ambiguous(delivery.run, report.active)
    if report.outcome is Delivered.UNKNOWN_RUN or report.run is None:
        raise not_found(delivery.run, workflow=workflow)
    if report.outcome is not Delivered.ACCEPTED:
        raise _refusal(parts, report.run.run_id, delivery, report, keep_early=keep_early)
    parts.runner.dispatch(_messages(report.run, report.dispatches))


def _deliver_later(
    parts: Parts, delivery: Delivery, report: DeliveryReport, run_id: str, *, keep_early: bool
) -> DeliveryReport:
    # Nothing waits for it: it is kept, or delivered again while a step is being executed that may have returned Async a
    # moment ago, its commit being on the way.
    deadline = parts.clock.monotonic_ns() + int(GRACE_SECONDS * 1e9)
    instance = read_run(parts.storage, run_id)
    keep = keep_early and can_still_wait(instance, delivery.name, delivery.step)
    delivery = replace(delivery, run=RunReference(id=run_id), keep=keep)
    if delivery.key is not None and not keep:
        # Another sender may have brought the same event between the first look and this one: then it is no mistake.
        again = parts.storage.deliver(replace(delivery, operation=parts.chance.token()))
        if again.outcome is not Delivered.NOT_WAITING:
            return again
    while keep or any(declares(instance, executing, delivery.name) for executing in report.executing):
        report = parts.storage.deliver(replace(delivery, operation=parts.chance.token()))
        if report.outcome is not Delivered.NOT_WAITING or parts.clock.monotonic_ns() > deadline:
            return report
        keep = False
        parts.clock.sleep(0.01)
    return report


def _refusal(parts: Parts, run_id: str, delivery: Delivery, report: DeliveryReport, *, keep_early: bool) -> Exception:
    instance = read_run(parts.storage, run_id)
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
