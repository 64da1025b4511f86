"""What is emitted for a transition: its events, in order, with the numbers that its commit has reserved.

They are calls that emit; the process that did the thing makes them, after the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hephaestus_celery import telemetry
from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import StepClass
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.runners.failures import Failed, stuck
from hephaestus_celery.runners.step_result import Completed
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.claims import Claim
from hephaestus_celery.storage.commits import Commitment
from hephaestus_celery.storage.instances import read_start

logger = logging.getLogger("hephaestus_celery")

Events = Sequence[Callable[[], None]]


def emit(events: Events) -> None:
    """Emit the events. What they report has happened: one that can't be emitted is logged, and keeps none back."""
    for event in events:
        try:
            event()
        except Exception:
            logger.exception("an event can't be emitted")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSource:
    """Who acts: a step of an instance, in a worker. ``worker`` holds the fields that every event carries."""

    instance: Instance
    step: StepClass
    runner: type
    worker: Mapping[str, Any]

    def metadata(self, sequence: int, **fields: Any) -> dict[str, Any]:
        """Metadata of one event."""
        return {**fields, **self.worker, "sequence": sequence}


def run_began(source: EventSource, claim: Claim) -> None:
    """The run's first claim: it was started, and the engine's first tick made it running."""
    instance = source.instance
    telemetry.workflow_start(
        instance,
        source.metadata(
            claim.sequence,
            initial_step=_initial(instance),
            context_keys=list(instance.context.initial),
            runner=source.runner,
        ),
    )
    telemetry.engine_advance(
        instance,
        0,
        source.metadata(
            claim.sequence + 1,
            active_steps_count=claim.run.active,
            completed_in_advance=0,
            status_before=Status.PENDING,
            status_after=Status.RUNNING,
            iteration=1,
        ),
    )


def _initial(instance: Instance) -> StepClass | tuple[StepClass, ...]:
    first, *others = (initial.step for initial in instance.workflow.graph.initials)
    return (first, *others) if others else first


def attempt_began(source: EventSource, claim: Claim) -> None:
    """An attempt was claimed."""
    state = claim.run.steps[source.step.key]
    telemetry.step_start(
        source.instance,
        source.step,
        source.metadata(
            claim.sequence + (2 if claim.first else 0),
            queue_time=max(0, claim.claimed_at - claim.queued_at) * 1000,
            step_key=source.step.key,
            concurrent=claim.run.active > 1,
            active_steps_count=claim.run.active,
            attempt=state.attempt,
            max_attempts=state.max_attempts,
        ),
    )


def completed(
    source: EventSource, claim: Claim, result: Completed, commitment: Commitment, *, duration: int, tick: int
) -> Events:
    """A step gave an event. ``duration`` of the step and ``tick`` of the engine are nanoseconds."""
    number = commitment.sequence
    targets = [source.instance.workflow.graph.by_key[key] for key in commitment.activated]
    if commitment.verdict is Verdict.STALE:
        return ()
    if commitment.verdict is Verdict.DISCARDED:
        return (
            ()
            if claim.resume is not None
            else (_step_stop(source, claim, result, [], duration=duration, number=number),)
        )
    if source.step is Done:
        return _done(source, commitment, number)
    first = (
        _step_stop(source, claim, result, targets, duration=duration, number=number)
        if claim.resume is None
        else _step_resume(source, claim, number)
    )
    return [first, *_advanced(source, result, targets, commitment, tick), *ended(source, commitment, number + 3)]


def ended(source: EventSource, commitment: Commitment, number: int = 0) -> Events:
    """What follows a step has ended the run; nothing where it has not. Told from this number on, or the commitment's own."""
    number = commitment.ending or number
    if commitment.status_after is Status.COMPLETED:
        return _done(source, commitment, number)
    if commitment.status_after is Status.FAILED:
        return (_ended_in_failure(source, stuck(source.step.key), commitment, number),)
    return ()


def suspended(source: EventSource, claim: Claim, commitment: Commitment, *, duration: int) -> Events:
    """A step waits."""
    if commitment.verdict is Verdict.STALE:
        return ()
    extra = source.metadata(
        commitment.sequence,
        step_key=source.step.key,
        instance_status=commitment.status_after,
        attempt=_attempt(source, claim),
    )
    return (partial(telemetry.step_async, source.instance, source.step, duration, extra),)


def rescued(source: EventSource, number: int, *, attempt: int, reason: str) -> Events:
    """A message or an attempt of a step was lost, and noticed."""
    extra = source.metadata(number, step_key=source.step.key, attempt=attempt, reason=reason)
    return (partial(telemetry.step_rescue, source.instance, source.step, extra),)


def failed(
    source: EventSource,
    claim: Claim,
    result: Failed,
    commitment: Commitment,
    *,
    duration: int,
    retry_in: float | None = None,
) -> Events:
    """An attempt failed. Without ``retry_in`` (seconds) it was the last, and the run fails with it."""
    if commitment.verdict is Verdict.STALE:
        return ()
    if commitment.verdict is Verdict.DISCARDED and claim.resume is not None:
        return ()  # no number was reserved for it
    state = claim.run.steps[source.step.key]
    extra = source.metadata(
        commitment.sequence,
        step_key=source.step.key,
        attempt=state.attempt,
        max_attempts=state.max_attempts,
        will_retry=retry_in is not None and commitment.verdict is Verdict.APPLIED,
        retry_in=None if retry_in is None else int(retry_in * 1e9),
    )
    cause = (result.kind, result.reason, result.stacktrace)
    first = partial(telemetry.step_exception, source.instance, source.step, duration, *cause, extra)
    if commitment.verdict is Verdict.DISCARDED or retry_in is not None:
        return (first,)
    return (first, _ended_in_failure(source, result, commitment, commitment.sequence + 1))


def _ended_in_failure(source: EventSource, result: Failed, commitment: Commitment, number: int) -> Callable[[], None]:
    extra = source.metadata(
        number,
        failed_step=source.step,
        step_count=len(commitment.completed),
        advance_count=commitment.advance,
        runner=source.runner,
    )
    cause = (result.kind, result.reason, result.stacktrace)
    return partial(telemetry.workflow_exception, _ended(source, commitment), *cause, extra)


def _step_stop(
    source: EventSource, claim: Claim, result: Completed, targets: Sequence[StepClass], *, duration: int, number: int
) -> Callable[[], None]:
    extra = source.metadata(
        number,
        step_key=source.step.key,
        event=result.event,
        has_context_updates=result.result is not None,
        has_metadata_updates=result.metadata is not None,
        transitions_to=list(targets),
        attempt=_attempt(source, claim),
    )
    return partial(telemetry.step_stop, source.instance, source.step, duration, extra)


def _step_resume(source: EventSource, claim: Claim, number: int) -> Callable[[], None]:
    resume = claim.resume
    event, sender, waited = (None, None, None) if resume is None else (resume.event, resume.source, _waited(claim))
    extra = source.metadata(number, wait_duration=waited, step_key=source.step.key, resume_event=event, source=sender)
    return partial(telemetry.step_resume, source.instance, source.step, extra)


def _advanced(
    source: EventSource, result: Completed, targets: Sequence[StepClass], commitment: Commitment, tick: int
) -> Events:
    number = commitment.sequence
    extra = source.metadata(
        number + 2,
        active_steps_count=commitment.active,
        completed_in_advance=1,
        status_before=commitment.status_before,
        status_after=commitment.status_after,
        iteration=commitment.advance,
    )
    return (
        partial(
            telemetry.workflow_transition,
            source.instance,
            source.step,
            result.event,
            list(targets),
            source.metadata(number + 1),
        ),
        partial(telemetry.engine_advance, source.instance, tick, extra),
    )


def _done(source: EventSource, commitment: Commitment, number: int) -> Events:
    instance = _ended(source, commitment)
    by_key = instance.workflow.graph.by_key
    start = source.metadata(
        number,
        queue_time=0,
        step_key=Done.key,
        concurrent=False,
        active_steps_count=1,
        attempt=1,
        max_attempts=1,
    )
    stop = source.metadata(
        number + 1,
        step_key=Done.key,
        event="done",
        has_context_updates=False,
        has_metadata_updates=False,
        transitions_to=[],
        attempt=1,
    )
    end = source.metadata(
        number + 3,
        step_count=len(commitment.completed),
        advance_count=commitment.advance,
        completed_steps=[by_key[key] for key in commitment.completed if key in by_key],
        runner=source.runner,
    )
    return (
        partial(telemetry.step_start, instance, Done, start),
        partial(telemetry.step_stop, instance, Done, 0, stop),
        partial(telemetry.workflow_transition, instance, Done, "done", [], source.metadata(number + 2)),
        partial(telemetry.workflow_stop, instance, end),
    )


def _ended(source: EventSource, commitment: Commitment) -> Instance:
    finished = commitment.finished_at
    return source.instance.apart(
        status=commitment.status_after,
        telemetry_start_time=read_start(commitment.start),
        finished_at=None if finished is None else codec.moment(finished),
    )


def _attempt(source: EventSource, claim: Claim) -> int:
    return claim.run.steps[source.step.key].attempt


def _waited(claim: Claim) -> int | None:
    if claim.resume is None or claim.waiting_since is None or claim.resume.at < claim.waiting_since:
        return None
    return (claim.resume.at - claim.waiting_since) * 1000
