"""Which telemetry events tell of a run: that it began, that it undoes what has completed, how it ended.

They are data, in order, with the numbers that the commit has reserved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import StepClass
from hephaestus_celery.core.definition.registry import definition_of
from hephaestus_celery.core.execution.deadlines import EXCEEDED
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.exceptions import AttemptLostError, DeadlineExceeded, StepFailedError
from hephaestus_celery.runners.events import Event, EventSource
from hephaestus_celery.runners.step_exceptions import Failed, stuck
from hephaestus_celery.runners.step_result import RunResult
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.claims import Claim
from hephaestus_celery.storage.commits import Cause, Commitment
from hephaestus_celery.storage.instances import read_failure, read_start
from hephaestus_celery.telemetry.catalogue import names


def began(source: EventSource, claim: Claim) -> Sequence[Event]:
    """The first step of a run was claimed: the run begins, and advances for the first time."""
    instance = source.instance
    start = source.metadata(
        claim.sequence,
        initial_step=_initial(instance),
        context_keys=list(instance.context.initial),
        runner=source.runner,
    )
    advance = source.metadata(
        claim.sequence + 1,
        active_steps_count=claim.run.active,
        completed_in_advance=0,
        status_before=Status.PENDING,
        status_after=Status.RUNNING,
        iteration=1,
    )
    return (
        Event(name=names.WORKFLOW_START, instance=instance, fields={}, extra=start),
        Event(name=names.ENGINE_ADVANCE, instance=instance, fields={"duration": 0}, extra=advance),
    )


def _initial(instance: Instance) -> StepClass | tuple[StepClass, ...]:
    first, *others = (initial.step for initial in definition_of(instance).graph.initials)
    return (first, *others) if others else first


def ended(
    source: EventSource, commitment: Commitment, number: int = 0, given: RunResult | None = None
) -> Sequence[Event]:
    """The end of a run, if a commit has ended it, or that it undoes from now on what has completed.

    The numbers begin here, or where the commitment says.
    """
    number = commitment.ending or number
    if given is not None and given.failed is not None:
        return _refused(source, given.failed, commitment, number)
    if commitment.undoes:
        return begun_to_undo(source.instance, number, source.worker)
    if commitment.cause is not None:
        return undone(
            source.instance, commitment, commitment.cause, number=number, runner=source.runner, worker=source.worker
        )
    if commitment.status_after is Status.COMPLETED:
        return _done(source, commitment, number, given)
    if commitment.status_after is Status.FAILED:
        return (run_failed(source, stuck(source.step.key, commitment.shortfall), commitment, number),)
    return ()


def begun_to_undo(instance: Instance, number: int, worker: Mapping[str, Any]) -> Sequence[Event]:
    """A run undoes from now on what has completed."""
    extra = {**worker, "sequence": number}
    return (Event(name=names.WORKFLOW_COMPENSATE, instance=instance, fields={}, extra=extra),)


def undone(
    instance: Instance, commitment: Commitment, cause: Cause, *, number: int, runner: type, worker: Mapping[str, Any]
) -> Sequence[Event]:
    """The end of a run that has undone what had completed; whoever commits last knows its failure from the store alone."""
    instance = _at_its_end(instance, commitment)
    extra: dict[str, Any] = {**worker, "sequence": number}
    if commitment.status_after is Status.CANCELLED or cause.failure is None:
        extra["reason"] = cause.reason
        return (Event(name=names.WORKFLOW_CANCEL, instance=instance, fields={}, extra=extra),)
    failure = read_failure(
        cause.failure,
        failed_step=cause.failed_step,
        shortfall=commitment.shortfall,
        started_at=instance.started_at,
    )
    definition = definition_of(instance)
    extra |= {
        "failed_step": None if cause.failed_step is None else definition.graph.by_key.get(cause.failed_step),
        "step_count": len(commitment.completed),
        "advance_count": commitment.advance,
        "runner": runner,
    }
    expired = cause.failed_step is None and failure.type == EXCEEDED
    reason = (
        DeadlineExceeded(failure.message)
        if expired
        else StepFailedError(f"{failure.type}: {failure.message}", failure=failure)
    )
    fields = {"kind": failure.kind, "reason": reason, "stacktrace": None}
    return (Event(name=names.WORKFLOW_EXCEPTION, instance=instance, fields=fields, extra=extra),)


def never_whole(instance: Instance, number: int, runner: type, worker: Mapping[str, Any]) -> Sequence[Event]:
    """A rerun has failed, since the earlier run was gone before all of it was copied."""
    failure = instance.failure
    reason = None if failure is None else AttemptLostError(failure.message)
    extra = {**worker, "sequence": number, "failed_step": None, "step_count": 0, "advance_count": 0, "runner": runner}
    cause = {"kind": "exit", "reason": reason, "stacktrace": None}
    return (Event(name=names.WORKFLOW_EXCEPTION, instance=instance, fields=cause, extra=extra),)


def expired(
    instance: Instance, number: int, *, advances: int, completed: int, runner: type, worker: Mapping[str, Any]
) -> Sequence[Event]:
    """A run has failed, since it has not ended in time."""
    failure = instance.failure
    reason = None if failure is None else DeadlineExceeded(failure.message)
    extra = {
        **worker,
        "sequence": number,
        "failed_step": None,
        "step_count": completed,
        "advance_count": advances,
        "runner": runner,
    }
    cause = {"kind": "exit", "reason": reason, "stacktrace": None}
    return (Event(name=names.WORKFLOW_EXCEPTION, instance=instance, fields=cause, extra=extra),)


def run_failed(
    source: EventSource, result: Failed, commitment: Commitment, number: int, *, at: StepClass | None = None
) -> Event:
    """A run has failed with this failure, at the source's step or ``at`` another."""
    extra = source.metadata(
        number,
        failed_step=at or source.step,
        step_count=len(commitment.completed),
        advance_count=commitment.advance,
        runner=source.runner,
    )
    instance = _at_its_end(source.instance, commitment)
    return Event(name=names.WORKFLOW_EXCEPTION, instance=instance, fields=cause_of(result), extra=extra)


def _refused(source: EventSource, result: Failed, commitment: Commitment, number: int) -> Sequence[Event]:
    instance = source.instance if commitment.undoes else _at_its_end(source.instance, commitment)
    stop = source.metadata(number + 1, step_key=Done.key, attempt=1, max_attempts=1, will_retry=False, retry_in=None)
    fields = {"step": Done, "duration": 0, **cause_of(result)}
    failed = Event(name=names.STEP_EXCEPTION, instance=instance, fields=fields, extra=stop)
    if commitment.undoes:
        end = begun_to_undo(instance, number + 2, source.worker)
    else:
        end = (run_failed(source, result, commitment, number + 2, at=Done),)
    return (_done_began(source, instance, number), failed, *end)


def _done(source: EventSource, commitment: Commitment, number: int, given: RunResult | None) -> Sequence[Event]:
    result = codec.decode("{}" if given is None else given.text or "{}")
    instance = _at_its_end(source.instance, commitment, result=result)
    by_key = definition_of(instance).graph.by_key
    stop = source.metadata(
        number + 1,
        step_key=Done.key,
        event="done",
        has_context_updates=False,
        has_metadata_updates=False,
        transitions_to=[],
        attempt=1,
    )
    transition: dict[str, Any] = {"from_step": Done, "event": "done", "targets": []}
    end = source.metadata(
        number + 3,
        step_count=len(commitment.completed),
        advance_count=commitment.advance,
        completed_steps=[by_key[key] for key in commitment.completed if key in by_key],
        runner=source.runner,
    )
    return (
        _done_began(source, instance, number),
        Event(name=names.STEP_STOP, instance=instance, fields={"step": Done, "duration": 0}, extra=stop),
        Event(name=names.WORKFLOW_TRANSITION, instance=instance, fields=transition, extra=source.metadata(number + 2)),
        Event(name=names.WORKFLOW_STOP, instance=instance, fields={}, extra=end),
    )


def _done_began(source: EventSource, instance: Instance, number: int) -> Event:
    start = source.metadata(
        number, queue_time=0, step_key=Done.key, concurrent=False, active_steps_count=1, attempt=1, max_attempts=1
    )
    return Event(name=names.STEP_START, instance=instance, fields={"step": Done}, extra=start)


def _at_its_end(instance: Instance, commitment: Commitment, **fields: Any) -> Instance:
    finished = commitment.finished_at
    return instance.apart(
        status=commitment.status_after,
        telemetry_start_time=read_start(commitment.start),
        finished_at=None if finished is None else codec.moment(finished),
        **fields,
    )


def cause_of(result: Failed) -> dict[str, Any]:
    """The fields of an event that say what went wrong."""
    return {"kind": result.kind, "reason": result.reason, "stacktrace": result.stacktrace}
