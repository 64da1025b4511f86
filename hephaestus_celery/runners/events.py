"""Which telemetry events a transition emits, as data, in order, with the numbers that its commit has reserved.

The process that has committed emits them after the commit, by :func:`emit`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import StepClass
from hephaestus_celery.core.definition.registry import definition_of
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.failure import Failure
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.exceptions import AttemptLostError, DeadlineExceeded, StepFailedError
from hephaestus_celery.runners.step_exceptions import Failed, stuck
from hephaestus_celery.runners.step_result import Completed, RunResult
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.claims import Claim
from hephaestus_celery.storage.commits import Cause, Commitment
from hephaestus_celery.storage.instances import read_start
from hephaestus_celery.storage.shortfalls import explained
from hephaestus_celery.telemetry.catalogue import names
from hephaestus_celery.telemetry.emitter import Emitter
from hephaestus_celery.telemetry.handlers import EventName

logger = logging.getLogger("hephaestus_celery")

_EMITTERS: Mapping[EventName, Callable[..., None]] = {
    names.WORKFLOW_START: Emitter.workflow_start,
    names.WORKFLOW_STOP: Emitter.workflow_stop,
    names.WORKFLOW_EXCEPTION: Emitter.workflow_exception,
    names.WORKFLOW_TRANSITION: Emitter.workflow_transition,
    names.ENGINE_ADVANCE: Emitter.engine_advance,
    names.STEP_START: Emitter.step_start,
    names.STEP_STOP: Emitter.step_stop,
    names.STEP_EXCEPTION: Emitter.step_exception,
    names.STEP_ASYNC: Emitter.step_async,
    names.STEP_RESUME: Emitter.step_resume,
    names.STEP_RESCUE: Emitter.step_rescue,
    names.STEP_DISCARD: Emitter.step_discard,
    names.WORKFLOW_CANCEL: Emitter.workflow_cancel,
    names.WORKFLOW_COMPENSATE: Emitter.workflow_compensate,
}


@dataclass(slots=True, kw_only=True)  # not frozen: that is five times as slow, and a step makes four of them
class Event:
    """One event to be emitted: its name, its run, and its fields. It never changes.

    ``fields`` are those that every event of this name has; ``extra`` is the rest of its metadata.
    """

    name: EventName
    instance: Instance
    fields: Mapping[str, Any]
    extra: Mapping[str, Any]


def emit(events: Sequence[Event], emitter: Emitter) -> None:
    """Emit the events, with the times of the emitter's clock. One that can't be emitted is logged; the others go on."""
    for event in events:
        try:
            _EMITTERS[event.name](emitter, event.instance, **event.fields, extra=event.extra)
        except Exception:
            logger.exception("the event %s can't be emitted", ".".join(event.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSource:
    """The source of events: a step of an instance, in a worker, whose fields every event carries."""

    instance: Instance
    step: StepClass
    runner: type
    worker: Mapping[str, Any]

    def metadata(self, sequence: int, **fields: Any) -> dict[str, Any]:
        """Metadata of one event."""
        return {**fields, **self.worker, "sequence": sequence}


def claimed(source: EventSource, claim: Claim) -> Sequence[Event]:
    """The events of a claim: an attempt starts; with the first claim of a run, so does the run."""
    began = _run_began(source, claim) if claim.first else ()
    if claim.resume is not None or source.step is Done:
        return began
    return (*began, _attempt_began(source, claim))


def _run_began(source: EventSource, claim: Claim) -> Sequence[Event]:
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


def _attempt_began(source: EventSource, claim: Claim) -> Event:
    state = claim.run.steps[source.step.key]
    extra = source.metadata(
        claim.sequence + (2 if claim.first else 0),
        queue_time=max(0, claim.claimed_at - claim.queued_at) * 1000,
        step_key=source.step.key,
        concurrent=claim.run.active > 1,
        active_steps_count=claim.run.active,
        attempt=state.attempt,
        max_attempts=state.max_attempts,
        **_round(state),
    )
    return Event(name=names.STEP_START, instance=source.instance, fields={"step": source.step}, extra=extra)


def completed(
    source: EventSource,
    claim: Claim,
    result: Completed,
    commitment: Commitment,
    *,
    duration: int,
    tick: int,
    given: RunResult | None = None,
) -> Sequence[Event]:
    """A step gave an event. ``duration`` of the step and ``tick`` of the engine are nanoseconds.

    ``given`` is the result of the run, if the commit has ended it and its workflow gives one.
    """
    number = commitment.sequence
    if commitment.verdict is Verdict.STALE:
        return ()
    if commitment.verdict is Verdict.DISCARDED:
        if claim.resume is not None:
            return ()  # no number was reserved for it
        return (_gave(source, claim, result, [], duration=duration, number=number),)
    if commitment.verdict is Verdict.LATE:  # its run undoes what has completed: nothing follows it
        return (_gave(source, claim, result, [], duration=duration, number=number), *ended(source, commitment))
    if source.step is Done:
        return ended(source, commitment, number, given)
    targets = [definition_of(source.instance).graph.by_key[key] for key in commitment.activated]
    first = _gave(source, claim, result, targets, duration=duration, number=number)
    end = ended(source, commitment, number + 3, given)
    return (first, *_advanced(source, result, targets, commitment, tick), *end)


def _gave(
    source: EventSource, claim: Claim, result: Completed, targets: Sequence[StepClass], *, duration: int, number: int
) -> Event:
    # Whatever else it was: a failure that a transition takes is the end of an attempt that failed.
    if result.failed is not None:
        return _step_exception(source, claim, result.failed, duration=duration, number=number)
    if claim.resume is not None:
        return _step_resume(source, claim, number)
    return _step_stop(source, claim, result, targets, duration=duration, number=number)


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
        return (_run_failed(source, stuck(source.step.key, commitment.shortfall), commitment, number),)
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
    shortfall = commitment.shortfall if cause.failed_step is None else None
    failure = Failure(**explained(codec.decode(cause.failure), shortfall))
    definition = definition_of(instance)
    extra |= {
        "failed_step": None if cause.failed_step is None else definition.graph.by_key.get(cause.failed_step),
        "step_count": len(commitment.completed),
        "advance_count": commitment.advance,
        "runner": runner,
    }
    reason = StepFailedError(f"{failure.type}: {failure.message}", failure=failure)
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


def waiting(
    source: EventSource, claim: Claim, commitment: Commitment, *, duration: int, outcome: str, resumes_in: int | None
) -> Sequence[Event]:
    """A step waits from now on, or until its next round; ``resumes_in`` is in microseconds, ``outcome`` as in the history."""
    if commitment.verdict is Verdict.STALE:
        return ()
    extra = source.metadata(
        commitment.sequence,
        step_key=source.step.key,
        instance_status=commitment.status_after,
        attempt=_attempt(source, claim),
        outcome=outcome,
        round=claim.run.steps[source.step.key].round,
        resumes_in=None if resumes_in is None else resumes_in * 1000,
    )
    fields = {"step": source.step, "duration": duration}
    first = Event(name=names.STEP_ASYNC, instance=source.instance, fields=fields, extra=extra)
    return (first, *_ended_late(source, commitment))


def _ended_late(source: EventSource, commitment: Commitment) -> Sequence[Event]:
    return ended(source, commitment) if commitment.verdict is Verdict.LATE else ()


def rescued(source: EventSource, number: int, *, attempt: int, reason: str) -> Sequence[Event]:
    """A message or an attempt of a step was lost, and noticed."""
    extra = source.metadata(number, step_key=source.step.key, attempt=attempt, reason=reason)
    return (Event(name=names.STEP_RESCUE, instance=source.instance, fields={"step": source.step}, extra=extra),)


def discarded(source: EventSource, commitment: Commitment, *, event: str, reason: str) -> Sequence[Event]:
    """An event of a step was dropped, and the step waits on."""
    if commitment.verdict not in (Verdict.APPLIED, Verdict.LATE):
        return ()
    extra = source.metadata(commitment.sequence, step_key=source.step.key, event=event, reason=reason)
    first = Event(name=names.STEP_DISCARD, instance=source.instance, fields={"step": source.step}, extra=extra)
    return (first, *_ended_late(source, commitment))


def failed(
    source: EventSource,
    claim: Claim,
    result: Failed,
    commitment: Commitment,
    *,
    duration: int,
    retry_in: float | None = None,
) -> Sequence[Event]:
    """An attempt failed. Without ``retry_in`` (seconds) it was the last, and the run fails with it, or undoes what has completed."""
    if commitment.verdict is Verdict.STALE:
        return ()
    if commitment.verdict is Verdict.DISCARDED and claim.resume is not None:
        return ()  # no number was reserved for it
    first = _step_exception(
        source,
        claim,
        result,
        duration=duration,
        number=commitment.sequence,
        will_retry=retry_in is not None and commitment.verdict is Verdict.APPLIED,
        retry_in=retry_in,
    )
    if commitment.verdict is Verdict.LATE:
        return (first, *ended(source, commitment))
    if commitment.verdict is Verdict.DISCARDED or retry_in is not None:
        return (first,)
    if commitment.undoes or commitment.cause is not None or not commitment.status_after.final:
        return (first, *ended(source, commitment, commitment.sequence + 1))
    return (first, _run_failed(source, result, commitment, commitment.sequence + 1))


def _step_exception(
    source: EventSource,
    claim: Claim,
    result: Failed,
    *,
    duration: int,
    number: int,
    will_retry: bool = False,
    retry_in: float | None = None,
) -> Event:
    state = claim.run.steps[source.step.key]
    extra = source.metadata(
        number,
        step_key=source.step.key,
        attempt=state.attempt,
        max_attempts=state.max_attempts,
        will_retry=will_retry,
        retry_in=None if retry_in is None else int(retry_in * 1e9),
        **_round(state),
    )
    fields = {"step": source.step, "duration": duration, **_cause(result)}
    return Event(name=names.STEP_EXCEPTION, instance=source.instance, fields=fields, extra=extra)


def _refused(source: EventSource, result: Failed, commitment: Commitment, number: int) -> Sequence[Event]:
    instance = source.instance if commitment.undoes else _at_its_end(source.instance, commitment)
    stop = source.metadata(number + 1, step_key=Done.key, attempt=1, max_attempts=1, will_retry=False, retry_in=None)
    fields = {"step": Done, "duration": 0, **_cause(result)}
    failed = Event(name=names.STEP_EXCEPTION, instance=instance, fields=fields, extra=stop)
    if commitment.undoes:
        end = begun_to_undo(instance, number + 2, source.worker)
    else:
        end = (_run_failed(source, result, commitment, number + 2, at=Done),)
    return (_done_began(source, instance, number), failed, *end)


def _run_failed(
    source: EventSource, result: Failed, commitment: Commitment, number: int, *, at: StepClass | None = None
) -> Event:
    extra = source.metadata(
        number,
        failed_step=at or source.step,
        step_count=len(commitment.completed),
        advance_count=commitment.advance,
        runner=source.runner,
    )
    instance = _at_its_end(source.instance, commitment)
    return Event(name=names.WORKFLOW_EXCEPTION, instance=instance, fields=_cause(result), extra=extra)


def _cause(result: Failed) -> dict[str, Any]:
    return {"kind": result.kind, "reason": result.reason, "stacktrace": result.stacktrace}


def _step_stop(
    source: EventSource, claim: Claim, result: Completed, targets: Sequence[StepClass], *, duration: int, number: int
) -> Event:
    extra = source.metadata(
        number,
        step_key=source.step.key,
        event=result.event,
        has_context_updates=result.result is not None,
        has_metadata_updates=result.metadata is not None,
        transitions_to=list(targets),
        attempt=_attempt(source, claim),
        **_round(claim.run.steps[source.step.key]),
    )
    fields = {"step": source.step, "duration": duration}
    return Event(name=names.STEP_STOP, instance=source.instance, fields=fields, extra=extra)


def _step_resume(source: EventSource, claim: Claim, number: int) -> Event:
    resume = claim.resume
    event, sender, waited = (None, None, None) if resume is None else (resume.event, resume.source, _waited(claim))
    extra = source.metadata(number, wait_duration=waited, step_key=source.step.key, resume_event=event, source=sender)
    return Event(name=names.STEP_RESUME, instance=source.instance, fields={"step": source.step}, extra=extra)


def _advanced(
    source: EventSource, result: Completed, targets: Sequence[StepClass], commitment: Commitment, tick: int
) -> Sequence[Event]:
    number = commitment.sequence
    transition = {"from_step": source.step, "event": result.event, "targets": list(targets)}
    advance = source.metadata(
        number + 2,
        active_steps_count=commitment.active,
        completed_in_advance=1,
        status_before=commitment.status_before,
        status_after=commitment.status_after,
        iteration=commitment.advance,
    )
    instance = source.instance
    return (
        Event(name=names.WORKFLOW_TRANSITION, instance=instance, fields=transition, extra=source.metadata(number + 1)),
        Event(name=names.ENGINE_ADVANCE, instance=instance, fields={"duration": tick}, extra=advance),
    )


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


def _attempt(source: EventSource, claim: Claim) -> int:
    return claim.run.steps[source.step.key].attempt


def _round(state: StepState) -> dict[str, int]:
    # Only where it applies: of a first round nobody knows whether another follows.
    return {"round": state.round} if state.round > 1 else {}


def _waited(claim: Claim) -> int | None:
    if claim.resume is None or claim.waiting_since is None or claim.resume.at < claim.waiting_since:
        return None
    return (claim.resume.at - claim.waiting_since) * 1000
