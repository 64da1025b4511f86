"""Which telemetry events tell of a step: that an attempt began, how it ended, and what follows from that for its run.

They are data, in order, with the numbers that the commit has reserved.
"""

from __future__ import annotations

from collections.abc import Sequence

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import StepClass
from hephaestus_celery.core.definition.registry import definition_of
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.runners.events import Event, EventSource
from hephaestus_celery.runners.run_events import began, cause_of, ended, run_failed
from hephaestus_celery.runners.step_exceptions import Failed
from hephaestus_celery.runners.step_result import Completed, RunResult
from hephaestus_celery.storage.claims import Claim
from hephaestus_celery.storage.commits import Commitment
from hephaestus_celery.telemetry.catalogue import names


def claimed(source: EventSource, claim: Claim) -> Sequence[Event]:
    """The events of a claim: an attempt starts; with the first claim of a run, so does the run."""
    first = began(source, claim) if claim.first else ()
    if claim.resume is not None or source.step is Done:
        return first
    return (*first, _attempt_began(source, claim))


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
    extra = source.metadata(
        number,
        wait_duration=waited,
        step_key=source.step.key,
        resume_event=event,
        source=sender,
        **_round(claim.run.steps[source.step.key]),
    )
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


def rescued(source: EventSource, number: int, state: StepState, *, reason: str) -> Sequence[Event]:
    """A message or an attempt of a step was lost, and noticed."""
    extra = source.metadata(number, step_key=source.step.key, attempt=state.attempt, reason=reason, **_round(state))
    return (Event(name=names.STEP_RESCUE, instance=source.instance, fields={"step": source.step}, extra=extra),)


def discarded(source: EventSource, claim: Claim, commitment: Commitment, *, event: str, reason: str) -> Sequence[Event]:
    """An event of a step was dropped, and the step waits on."""
    if commitment.verdict not in (Verdict.APPLIED, Verdict.LATE):
        return ()
    extra = source.metadata(
        commitment.sequence,
        step_key=source.step.key,
        event=event,
        reason=reason,
        **_round(claim.run.steps[source.step.key]),
    )
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
    return (first, run_failed(source, result, commitment, commitment.sequence + 1))


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
    fields = {"step": source.step, "duration": duration, **cause_of(result)}
    return Event(name=names.STEP_EXCEPTION, instance=source.instance, fields=fields, extra=extra)


def _attempt(source: EventSource, claim: Claim) -> int:
    return claim.run.steps[source.step.key].attempt


def _round(state: StepState) -> dict[str, int]:
    # Only where it applies: of a first round nobody knows whether another follows.
    return {"round": state.round} if state.round > 1 else {}


def _waited(claim: Claim) -> int | None:
    if claim.resume is None or claim.waiting_since is None or claim.resume.at < claim.waiting_since:
        return None
    return (claim.resume.at - claim.waiting_since) * 1000
