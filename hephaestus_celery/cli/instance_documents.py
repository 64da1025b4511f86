"""Instances as JSON: the field names of ``Instance``, with the keys of steps and stored names in the place of classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hephaestus_celery.cli.application import application_as_given
from hephaestus_celery.core.execution.standing import Reason
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.reports.advice import for_application
from hephaestus_celery.reports.documents import plain
from hephaestus_celery.storage.codec import moment

_STATUSES = {
    "active_steps": StepStatus.ACTIVE,
    "waiting_steps": StepStatus.WAITING,
    "completed_steps": StepStatus.COMPLETED,
    "skipped_steps": StepStatus.SKIPPED,
}


def brief_document(instance: Instance, due: Mapping[str, int | None]) -> dict[str, Any]:
    """What a listing has of an instance; ``due`` is when the due entries of its steps come due."""
    document = {
        "id": instance.id,
        "run_id": instance.run_id,
        "workflow": instance.workflow_name,
        "workflow_name": instance.workflow_name,
        "workflow_version": instance.workflow_version,
        "workflow_family": instance.workflow_family,
        "status": instance.status,
        "started_at": instance.started_at,
        "finished_at": instance.finished_at,
        "deadline": instance.deadline,
        "tags": instance.tags,
        "paused": instance.paused,
        "pauses": instance.pauses,
        "retried_as": instance.retried_as,
        "compensating": instance.compensating,
        "failed_step": instance.failed_key,
    }
    if not instance.is_far("step_states"):
        document |= _steps(instance, due)
    return plain(document)


def whole_document(instance: Instance, due: Mapping[str, int | None]) -> dict[str, Any]:
    """All of an instance, its data too."""
    about = brief_document(instance, due)
    return about | plain(
        {
            **_steps(instance, due),
            "context": {"initial": instance.context.initial, "steps": instance.context.steps},
            "runtime_metadata": instance.runtime_metadata,
            "telemetry_metadata": instance.telemetry_metadata,
            "telemetry_start_time": instance.telemetry_start_time,
            "step_configs": instance.configs,
            "result": instance.result,
            "failure": instance.failure,
            "cancel_reason": instance.cancel_reason,
            "forked_from": instance.forked_from,
            "compensated": _undone(instance, done=True),
            "uncompensated": _undone(instance, done=False),
        }
    )


def _undone(instance: Instance, *, done: bool) -> list[str]:
    # By key, since this process may not know the workflow.
    states = instance.step_states
    found = {
        key: (state := states.get(other)) is not None and state.status is StepStatus.COMPLETED
        for key, other in (instance.undone if instance.undoes else ())
    }
    return [key for key, is_done in found.items() if is_done is done]


def reason_document(reason: Reason) -> dict[str, Any]:
    """Why a step does not move."""
    since, until = (None if at is None else moment(at) for at in (reason.since, reason.until))
    return plain(
        {
            "step": reason.step,
            "cause": reason.cause,
            "waits_for": reason.waits_for,
            "since": since,
            "until": until,
            "moved_by": for_application(reason.moved_by, application_as_given()),
        }
    )


def _steps(instance: Instance, due: Mapping[str, int | None]) -> dict[str, Any]:
    states = instance.step_states
    live = () if not instance.status.final else (StepStatus.ACTIVE, StepStatus.WAITING)
    found: dict[str, Any] = {
        name: sorted(key for key, state in states.items() if state.status is status and _counts(state, live))
        for name, status in _STATUSES.items()
    }
    moving = [*found["waiting_steps"]] or [*found["active_steps"]]
    found["current_step"] = moving[0] if len(moving) == 1 else None
    found["steps"] = {key: _standing(state, due.get(key)) for key, state in states.items()}
    return found


def _counts(state: StepState, live: Collection[StepStatus]) -> bool:
    # In an ended run nothing is live, and a compensation that has completed is not one of the workflow's steps.
    over = state.status is StepStatus.COMPLETED and state.compensates is not None
    return state.status not in live and not over


def _standing(state: StepState, due: int | None) -> dict[str, Any]:
    def at(micros: int | None) -> Any:
        return None if micros is None else moment(micros)

    return {
        "status": state.status,
        "attempt": state.attempt or None,
        "max_attempts": state.max_attempts,
        "round": state.round,
        "event": state.event,
        "queued_at": at(state.queued_at),
        "started_at": at(state.claimed_at),
        "waiting_since": at(state.waiting_since),
        "due_at": at(due),
        "accepts": tuple(state.accepts) if state.waits and not state.between_rounds else None,
        "worker": state.worker,
    }
