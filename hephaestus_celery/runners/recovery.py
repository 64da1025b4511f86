"""Recovery after a lost worker: fails its attempts, and finishes the commits that it had begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.core.definition.registry import find_definition
from hephaestus_celery.core.execution.deadlines import failure_of
from hephaestus_celery.core.execution.due import Due, rescue_reason
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.runners import run_events, step_events
from hephaestus_celery.runners.after_commit import Outcome
from hephaestus_celery.runners.attempt import HeldAttempt, Worker
from hephaestus_celery.runners.events import Event, EventSource
from hephaestus_celery.runners.messages import messages
from hephaestus_celery.runners.retry_or_fail import FailedAttempts
from hephaestus_celery.runners.step_exceptions import lost
from hephaestus_celery.storage.claims import Attempt, Claim
from hephaestus_celery.storage.commits import Commitment
from hephaestus_celery.storage.due import DueEntry, ExpiredRun, RescuedRun
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.instances import decode_instance, read_headers
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import StoredRun

_SLICES = 50  # of a large run that undoes, for one entry that has come due


class Recovery:
    """Recovers for a driver. ``runner`` is the class of the runner, which events name."""

    def __init__(
        self,
        storage: Storage,
        *,
        durations: Durations,
        failed_attempts: FailedAttempts,
        runner: type,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._storage = storage
        self._durations = durations
        self._failed_attempts = failed_attempts
        self._runner = runner
        self._clock = clock
        self._chance = chance

    def rescue(self, entry: DueEntry, *, worker: Worker) -> Outcome:
        """Finish a rescue that the store has recorded: a lost attempt is failed. Returns the outcome."""
        if entry.kind is Due.SETTLE:
            return self._settle(entry, worker)
        if entry.kind is Due.COPY:
            return self._copy(entry, worker)
        if entry.expired is not None:
            return self._expired(entry, entry.expired, worker)
        if entry.kind is Due.UNDO:
            return self._undo(entry, worker)
        return self._rescued(entry, worker=worker)

    def fail_lost(
        self, run_id: str, activation: Activation, attempt: int, *, reason: str, worker: Worker, timed_out: bool = False
    ) -> Outcome | None:
        """Fail an attempt whose task has ended without a commit; None when that task does not hold it (any more).

        None also if it was applying an event: the scheduler handles that soon. ``timed_out``: it was
        ended at its time limit.
        """
        fence = self._chance.token()
        taken = self._storage.seize(
            run_id,
            activation.in_round(1),
            attempt=attempt,
            holder=worker.task_id or "",
            fence=fence,
            reason=reason,
            worker=worker.hostname,
            durations=self._durations,
            timed_out=timed_out,
        )
        return None if taken is None else self._rescued(taken, reason=reason, worker=worker)

    def _settle(self, entry: DueEntry, worker: Worker) -> Outcome:
        # Continue to settle the edges of a step, or of a start, whose process is gone.
        step = entry.dispatch.activation.step
        commitment = self._storage.settle(entry.run_id, entry.dispatch.activation, durations=self._durations)
        headers = read_headers(entry.message_headers)
        sent = messages(entry.name, entry.version, entry.run_id, commitment.dispatches, headers=headers)
        followed: Sequence[Event] = ()
        if commitment.ending is not None:
            run = self._storage.load(entry.run_id, steps=[step])
            if run is not None:
                source = self._source(decode_instance(run, reader=self._storage), step, worker)
                followed = () if source is None else run_events.ended(source, commitment)
        return Outcome(label="settled", events=followed, messages=sent)

    def _undo(self, entry: DueEntry, worker: Worker) -> Outcome:
        # Go through some slices of a large run that undoes what has completed.
        commitment = Commitment(verdict=Verdict.STALE)
        for _ in range(_SLICES):
            commitment = self._storage.undo(entry.run_id, durations=self._durations)
            if commitment.verdict is not Verdict.APPLIED or commitment.dispatches or commitment.cause is not None:
                break
        headers = read_headers(entry.message_headers)
        sent = messages(entry.name, entry.version, entry.run_id, commitment.dispatches, headers=headers)
        run = None if commitment.cause is None else self._storage.load(entry.run_id, steps=())
        if run is None or commitment.cause is None:
            return Outcome(label="undoing", messages=sent)
        instance = decode_instance(run, reader=self._storage)
        if find_definition(instance) is None:
            return Outcome(label="unknown")
        number = commitment.ending or 0
        ended = run_events.undone(
            instance, commitment, commitment.cause, number=number, runner=self._runner, worker=worker.fields
        )
        return Outcome(label="undone", events=ended)

    def _copy(self, entry: DueEntry, worker: Worker) -> Outcome:
        # Continue to copy a rerun, whose process is gone.
        copied = self._storage.copy(entry.run_id, durations=self._durations)
        headers = read_headers(entry.message_headers)
        sent = messages(entry.name, entry.version, entry.run_id, copied.dispatches, headers=headers)
        run = None if copied.failed is None else self._storage.load(entry.run_id, steps=())
        if run is None or copied.failed is None:
            return Outcome(label="copied", messages=sent)
        instance = decode_instance(run, reader=self._storage)
        return Outcome(
            label="copied", events=run_events.never_whole(instance, copied.failed, self._runner, worker.fields)
        )

    def _expired(self, entry: DueEntry, expired: ExpiredRun, worker: Worker) -> Outcome:
        # A run has not ended in time. The store has failed it, and only this process tells of it.
        header = expired.header
        if header is None:
            found = self._storage.load(entry.run_id, steps=())
            if found is None:
                return Outcome(label="gone")
            header = found.header
        instance = decode_instance(_run_of_expired(entry, expired, header), reader=self._storage)
        if find_definition(instance) is None:
            return Outcome(label="unknown")  # of another deployment: there is no class for an event
        if expired.undoes:
            begun = run_events.begun_to_undo(instance, entry.sequence, worker.fields)
            headers = read_headers(entry.message_headers)
            sent = messages(entry.name, entry.version, entry.run_id, expired.dispatches, headers=headers)
            return Outcome(label="expired", events=begun, messages=sent)
        completed = expired.completed
        if completed is None:
            completed = sum(state.order is not None for state in instance.step_states.values())
        told = run_events.expired(
            instance,
            entry.sequence,
            advances=expired.advances,
            completed=completed,
            runner=self._runner,
            worker=worker.fields,
        )
        return Outcome(label="expired", events=told)

    def _rescued(self, entry: DueEntry, *, reason: str | None = None, worker: Worker) -> Outcome:
        # A lost attempt takes one round trip, the commit: the entry of the store has everything else.
        step = entry.dispatch.activation.step
        run = self._storage.load(entry.run_id, steps=[step]) if entry.run is None else _run_of(entry, entry.run)
        if run is None:
            return Outcome(label="gone")
        state = run.steps[step]
        why = reason or rescue_reason(entry.kind, state)
        taken = entry.attempt
        result = lost(f"step {step}: {why}{_of_event(state)}")
        source = self._source(decode_instance(run, reader=self._storage), step, worker)
        if source is None:
            # The workflow belongs to another deployment. The history has the rescue, but there is no class for an event.
            if taken is not None:
                self._failed_attempts.commit_unreadable(run, taken, result, worker)
            return Outcome(label="unknown")
        rescue = step_events.rescued(source, entry.sequence, state, reason=why)
        if taken is None:
            return Outcome(label="rescued", events=rescue)
        attempt = self._held(source, run, taken, worker=worker)
        lost_at = entry.run.at if entry.run is not None else self._storage.now()
        duration = max(0, lost_at - attempt.claim.claimed_at) * 1000
        outcome = self._failed_attempts.commit(attempt, result, duration, in_task=False)
        return replace(outcome, events=[*rescue, *outcome.events])

    def _held(self, source: EventSource, run: StoredRun, taken: Attempt, *, worker: Worker) -> HeldAttempt:
        state = run.steps[str(taken.activation)]
        claim = Claim(
            attempt=taken,
            run=run,
            first=False,
            sequence=0,
            queued_at=state.queued_at or 0,
            claimed_at=state.claimed_at or 0,
            resume=state.resume,
        )
        return HeldAttempt(source=source, claim=claim, worker=worker, began=self._clock.monotonic_ns())

    def _source(self, instance: Instance, step: str, worker: Worker) -> EventSource | None:
        found = None if (workflow := find_definition(instance)) is None else workflow.graph.by_key.get(step)
        if found is None:
            return None
        return EventSource(instance=instance, step=found, runner=self._runner, worker=worker.fields)


def _run_of(entry: DueEntry, rescued: RescuedRun) -> StoredRun:
    # The entry is enough. The run may be large, and many attempts may be lost at once, so the rest is read on access.
    return StoredRun(
        header=rescued.header,
        initial=None,
        status=rescued.status,
        started_at=rescued.started_at,
        start=rescued.start,
        sequence=entry.sequence,
        steps={str(entry.dispatch.activation): rescued.step},
        message_headers=entry.message_headers,
        lacks_data=True,
        lacks_steps=True,
    )


def _run_of_expired(entry: DueEntry, expired: ExpiredRun, header: str) -> StoredRun:
    return StoredRun(
        header=header,
        initial=None,
        status=Status.FAILED,
        started_at=expired.started_at,
        finished_at=expired.finished_at,
        start=expired.start,
        sequence=entry.sequence,
        failure=failure_of(expired.deadline),
        deadline=expired.deadline,
        lacks_data=True,
        lacks_steps=True,
    )


def _of_event(state: StepState) -> str:
    return "" if state.resume is None else f" (event {shown(state.resume.event)})"
