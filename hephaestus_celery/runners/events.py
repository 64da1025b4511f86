"""What is told of a transition: its events, in order, with the numbers that its commit has reserved.

A story is a list of calls that emit; it is told by the process that did the thing, after the commit.
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
from hephaestus_celery.core.execution.transitions import Verdict
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.runners.failures import Failed, stuck
from hephaestus_celery.runners.step_result import Completed
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.port import Claim, Commitment

logger = logging.getLogger("hephaestus_celery")

Story = Sequence[Callable[[], None]]


def tell(story: Story) -> None:
    """Emit the events. What they tell of has happened: one that can't be told is logged, and keeps none back."""
    for event in story:
        try:
            event()
        except Exception:
            logger.exception("an event can't be told")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who acts: a step of an instance, in a worker. ``worker`` holds the fields that every event told here carries."""

    instance: Instance
    step: StepClass
    runner: type
    worker: Mapping[str, Any]

    def metadata(self, sequence: int, **fields: Any) -> dict[str, Any]:
        """Metadata of one event."""
        return {**fields, **self.worker, "sequence": sequence}


def run_began(scene: Scene, claim: Claim) -> None:
    """The run's first claim: it was started, and the engine's first tick made it running."""
    instance = scene.instance
    telemetry.workflow_start(
        instance,
        scene.metadata(
            claim.sequence,
            initial_step=_initial(instance),
            context_keys=list(instance.context.initial),
            runner=scene.runner,
        ),
    )
    telemetry.engine_advance(
        instance,
        0,
        scene.metadata(
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


def attempt_began(scene: Scene, claim: Claim) -> None:
    """An attempt was claimed."""
    state = claim.run.steps[scene.step.key]
    telemetry.step_start(
        scene.instance,
        scene.step,
        scene.metadata(
            claim.sequence + (2 if claim.first else 0),
            queue_time=max(0, claim.claimed_at - claim.queued_at) * 1000,
            step_key=scene.step.key,
            concurrent=claim.run.active > 1,
            active_steps_count=claim.run.active,
            attempt=state.attempt,
            max_attempts=state.max_attempts,
        ),
    )


def completed(
    scene: Scene, claim: Claim, answer: Completed, commitment: Commitment, *, duration: int, tick: int
) -> Story:
    """A step gave an event. ``duration`` of the step and ``tick`` of the engine are nanoseconds."""
    number = commitment.sequence
    targets = [scene.instance.workflow.graph.by_key[key] for key in commitment.activated]
    if commitment.verdict is Verdict.STALE:
        return ()
    if commitment.verdict is Verdict.DISCARDED:
        return (
            ()
            if claim.resume is not None
            else (_step_stop(scene, claim, answer, [], duration=duration, number=number),)
        )
    if scene.step is Done:
        return _done(scene, commitment, number)
    first = (
        _step_stop(scene, claim, answer, targets, duration=duration, number=number)
        if claim.resume is None
        else _step_resume(scene, claim, number)
    )
    return [first, *_advanced(scene, answer, targets, commitment, tick), *ended(scene, commitment, number + 3)]


def ended(scene: Scene, commitment: Commitment, number: int = 0) -> Story:
    """What follows a step has ended the run; nothing where it has not. Told from this number on, or the commitment's own."""
    number = commitment.ending or number
    if commitment.status_after is Status.COMPLETED:
        return _done(scene, commitment, number)
    if commitment.status_after is Status.FAILED:
        return (_ended_in_failure(scene, stuck(scene.step.key), commitment, number),)
    return ()


def suspended(scene: Scene, claim: Claim, commitment: Commitment, *, duration: int) -> Story:
    """A step waits."""
    if commitment.verdict is Verdict.STALE:
        return ()
    extra = scene.metadata(
        commitment.sequence,
        step_key=scene.step.key,
        instance_status=commitment.status_after,
        attempt=_attempt(scene, claim),
    )
    return (partial(telemetry.step_async, scene.instance, scene.step, duration, extra),)


def rescued(scene: Scene, number: int, *, attempt: int, reason: str) -> Story:
    """A message or an attempt of a step was lost, and noticed."""
    extra = scene.metadata(number, step_key=scene.step.key, attempt=attempt, reason=reason)
    return (partial(telemetry.step_rescue, scene.instance, scene.step, extra),)


def failed(
    scene: Scene,
    claim: Claim,
    answer: Failed,
    commitment: Commitment,
    *,
    duration: int,
    retry_in: float | None = None,
) -> Story:
    """An attempt failed. Without ``retry_in`` (seconds) it was the last, and the run fails with it."""
    if commitment.verdict is Verdict.STALE:
        return ()
    if commitment.verdict is Verdict.DISCARDED and claim.resume is not None:
        return ()  # no number was reserved for it
    state = claim.run.steps[scene.step.key]
    extra = scene.metadata(
        commitment.sequence,
        step_key=scene.step.key,
        attempt=state.attempt,
        max_attempts=state.max_attempts,
        will_retry=retry_in is not None and commitment.verdict is Verdict.APPLIED,
        retry_in=None if retry_in is None else int(retry_in * 1e9),
    )
    cause = (answer.kind, answer.reason, answer.stacktrace)
    first = partial(telemetry.step_exception, scene.instance, scene.step, duration, *cause, extra)
    if commitment.verdict is Verdict.DISCARDED or retry_in is not None:
        return (first,)
    return (first, _ended_in_failure(scene, answer, commitment, commitment.sequence + 1))


def _ended_in_failure(scene: Scene, answer: Failed, commitment: Commitment, number: int) -> Callable[[], None]:
    extra = scene.metadata(
        number,
        failed_step=scene.step,
        step_count=len(commitment.completed),
        advance_count=commitment.advance,
        runner=scene.runner,
    )
    cause = (answer.kind, answer.reason, answer.stacktrace)
    return partial(telemetry.workflow_exception, _ended(scene, commitment), *cause, extra)


def _step_stop(
    scene: Scene, claim: Claim, answer: Completed, targets: Sequence[StepClass], *, duration: int, number: int
) -> Callable[[], None]:
    extra = scene.metadata(
        number,
        step_key=scene.step.key,
        event=answer.event,
        has_context_updates=answer.result is not None,
        has_metadata_updates=answer.metadata is not None,
        transitions_to=list(targets),
        attempt=_attempt(scene, claim),
    )
    return partial(telemetry.step_stop, scene.instance, scene.step, duration, extra)


def _step_resume(scene: Scene, claim: Claim, number: int) -> Callable[[], None]:
    resume = claim.resume
    event, source, waited = (None, None, None) if resume is None else (resume.event, resume.source, _waited(claim))
    extra = scene.metadata(number, wait_duration=waited, step_key=scene.step.key, resume_event=event, source=source)
    return partial(telemetry.step_resume, scene.instance, scene.step, extra)


def _advanced(
    scene: Scene, answer: Completed, targets: Sequence[StepClass], commitment: Commitment, tick: int
) -> Story:
    number = commitment.sequence
    extra = scene.metadata(
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
            scene.instance,
            scene.step,
            answer.event,
            list(targets),
            scene.metadata(number + 1),
        ),
        partial(telemetry.engine_advance, scene.instance, tick, extra),
    )


def _done(scene: Scene, commitment: Commitment, number: int) -> Story:
    instance = _ended(scene, commitment)
    by_key = instance.workflow.graph.by_key
    start = scene.metadata(
        number,
        queue_time=0,
        step_key=Done.key,
        concurrent=False,
        active_steps_count=1,
        attempt=1,
        max_attempts=1,
    )
    stop = scene.metadata(
        number + 1,
        step_key=Done.key,
        event="done",
        has_context_updates=False,
        has_metadata_updates=False,
        transitions_to=[],
        attempt=1,
    )
    end = scene.metadata(
        number + 3,
        step_count=len(commitment.completed),
        advance_count=commitment.advance,
        completed_steps=[by_key[key] for key in commitment.completed if key in by_key],
        runner=scene.runner,
    )
    return (
        partial(telemetry.step_start, instance, Done, start),
        partial(telemetry.step_stop, instance, Done, 0, stop),
        partial(telemetry.workflow_transition, instance, Done, "done", [], scene.metadata(number + 2)),
        partial(telemetry.workflow_stop, instance, end),
    )


def _ended(scene: Scene, commitment: Commitment) -> Instance:
    finished = commitment.finished_at
    return scene.instance.apart(
        status=commitment.status_after,
        telemetry_start_time=codec.read_start(commitment.start),
        finished_at=None if finished is None else codec.moment(finished),
    )


def _attempt(scene: Scene, claim: Claim) -> int:
    return claim.run.steps[scene.step.key].attempt


def _waited(claim: Claim) -> int | None:
    if claim.resume is None or claim.waiting_since is None or claim.resume.at < claim.waiting_since:
        return None
    return (claim.resume.at - claim.waiting_since) * 1000
