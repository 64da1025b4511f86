"""The driver: claim, execute, commit; every runner drives runs with it.

A runner passes a message to :meth:`Driver.claim`, and gets a :class:`HeldAttempt` or a refusal. :meth:`HeldAttempt.emit_start`
emits its start. :meth:`Driver.execute` runs the step. :meth:`Driver.commit` decides what follows, commits it, and gives an
:class:`Outcome` with the events to emit and the messages to send. :meth:`Driver.release` ends the renewal of the lease, which
begins with the claim. Events are emitted after their commit, and messages are sent after the events that caused them. This
fixes the order of the events of one process.

Any error between a claim and its commit fails the attempt, at once and once. The only exception that leaves the driver is
``StorageError``, when the store is away for longer than a lease.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, assert_never

from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance, Clock
from hephaestus_celery.core.definition.registry import definition_of
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.exceptions import DataError, StepFailedError, StorageError
from hephaestus_celery.runners import step_events
from hephaestus_celery.runners.after_commit import Outcome, outcome_of
from hephaestus_celery.runners.attempt import Executed, HeldAttempt, Worker
from hephaestus_celery.runners.completion import Completion
from hephaestus_celery.runners.events import EventSource
from hephaestus_celery.runners.execution import Executor, failed_in
from hephaestus_celery.runners.hooks import Hooks
from hephaestus_celery.runners.known_steps import LIMIT_MARGIN, limit_of, predecessors_of, versions_with
from hephaestus_celery.runners.leases import LeaseKeeper
from hephaestus_celery.runners.message_dispatcher import Dispatcher
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.recovery import Recovery
from hephaestus_celery.runners.rerunning import Rerunner
from hephaestus_celery.runners.retry_or_fail import FailedAttempts
from hephaestus_celery.runners.retrying_reader import RetryingReader
from hephaestus_celery.runners.starting import RunDraft, Starter
from hephaestus_celery.runners.step_exceptions import Failed, failed, lost, type_name
from hephaestus_celery.runners.step_result import AnotherRound, Completed, Discarded, StepResult, Waiting
from hephaestus_celery.storage.claims import Claim, ClaimRequest, Refusal, Refused
from hephaestus_celery.storage.commits import NextRound, Suspend
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import StoredRun
from hephaestus_celery.storage.starts import NewRun
from hephaestus_celery.telemetry.emitter import Emitter

if TYPE_CHECKING:
    from hephaestus_celery.config import Settings
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

logger = logging.getLogger("hephaestus_celery")

_MOST_REDUCTIONS = 2  # times that a result is replaced by a smaller one: its failure, then a plain failure
_PAUSE = 0.2  # seconds between two commits to a store that is away


class Driver:
    """Drives runs forward against a storage, for a runner.

    ``dispatcher`` is the part of the runner that it uses. ``hooks`` are the application's. ``clock`` and ``chance`` are those
    of the runtime, the only sources of time and chance here. ``durations`` come from the settings, and all requests to the
    storage carry them. Without ``backs_off`` the next attempt or round is due at once; without ``renews`` no lease is renewed: both are
    for a runner without threads.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        settings: Settings,
        dispatcher: Dispatcher,
        hooks: Hooks | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Chance = SYSTEM_CHANCE,
        backs_off: bool = True,
        renews: bool = True,
    ) -> None:
        self.storage = storage
        self.settings = settings
        self.dispatcher = dispatcher
        self.clock = clock
        self.chance = chance
        self.emitter = Emitter(clock)
        self.durations = durations = Durations.of(
            lease=settings.lease,
            dispatch_timeout=settings.dispatch_timeout,
            retention=settings.retention,
            stream=settings.event_stream,
        )
        self._runner = type(dispatcher)
        self._lease_ns = int(settings.lease.total_seconds() * 1e9)
        self._reader = RetryingReader(storage, lease=settings.lease, clock=clock)
        self._backs_off = backs_off
        self._keeper = LeaseKeeper(storage, lease=settings.lease, renews=renews)
        hooks = hooks or Hooks()
        self._starter = Starter(settings, dispatcher, durations=durations, hooks=hooks, clock=clock, chance=chance)
        self._executor = Executor(storage, settings, dispatcher, hooks=hooks, clock=clock)
        self._completion = Completion(
            storage,
            settings,
            dispatcher,
            durations=durations,
            reader=self._reader,
            executor=self._executor,
            clock=clock,
            chance=chance,
        )
        self._failed_attempts = FailedAttempts(
            storage,
            self._completion,
            durations=durations,
            default_retry=settings.default_retry,
            chance=chance,
            backs_off=backs_off,
        )
        self.rerunner = Rerunner(settings, dispatcher, durations=durations, clock=clock, chance=chance)
        self.recovery = Recovery(
            storage,
            durations=durations,
            failed_attempts=self._failed_attempts,
            runner=self._runner,
            clock=clock,
            chance=chance,
        )

    def new_run(
        self, workflow: type[WorkflowDefinition], *, id: str, context: Mapping[str, Any], telemetry: Mapping[str, Any]
    ) -> tuple[NewRun, Sequence[Message]]:
        """A new run of a workflow, for the storage to create, and the messages for its first steps."""
        [made] = self._starter.new_runs([self.draft_run(workflow, id=id, context=context, telemetry=telemetry)])
        if isinstance(made, Exception):
            raise made
        return made

    def draft_run(
        self, workflow: type[WorkflowDefinition], *, id: str, context: Mapping[str, Any], telemetry: Mapping[str, Any]
    ) -> RunDraft:
        """Begin a new run, one of several that :meth:`new_runs` makes together."""
        return self._starter.draft(workflow, id=id, context=context, telemetry=telemetry)

    def new_runs(self, drafts: Sequence[RunDraft]) -> list[tuple[NewRun, Sequence[Message]] | Exception]:
        """As :meth:`new_run`, for several drafts; the error of one stands in its place."""
        return self._starter.new_runs(drafts)

    def claim(
        self,
        workflow: str,
        run_id: str,
        activation: Activation,
        attempt: int,
        *,
        worker: Worker,
        fence: str | None = None,
        lane: str | None = None,
        token: int | None = None,
    ) -> HeldAttempt | Refusal:
        """Claim the attempt that a message hints at; the message came from ``lane``.

        To repeat the call after a ``StorageError``, pass the same ``fence``: the store may have granted the claim although
        its reply was lost, and gives that reply again. ``activation`` is of the round that the message is for. The lease is renewed from now on, until :meth:`release`.
        """
        began = self.clock.monotonic_ns()
        step = activation.step
        versions = versions_with(workflow, step)
        margin = LIMIT_MARGIN if self.dispatcher.ends_attempts else 0
        request = ClaimRequest(
            run_id=run_id,
            workflow=workflow,
            activation=activation.in_round(1),
            attempt=attempt,
            round=activation.generation,
            fence=fence or self.chance.token(),
            versions=versions,
            durations=self.durations,
            predecessors=predecessors_of(workflow, versions, step),
            limit=limit_of(workflow, versions, step, margin=margin),
            holder=worker.task_id,
            worker=worker.hostname,
            lane=lane,
            token=token,
        )
        claim = self.storage.claim(request)
        if isinstance(claim, Refusal):
            return claim
        return self._held(claim, worker, began)

    def _held(self, claim: Claim, worker: Worker, began: int) -> HeldAttempt | Refusal:
        attempt = claim.attempt
        self._keeper.keep(attempt)
        try:
            source = self._source(claim.run, attempt.activation.step, worker)
        except Exception as error:
            logger.exception(
                "[%s] the stored run can't be read, so step %s fails", attempt.run_id, attempt.activation.step
            )
            self._failed_attempts.commit_unreadable(claim.run, attempt, failed(error), worker)
            self._keeper.let_go(attempt)
            return Refusal(reason=Refused.UNREADABLE)
        return HeldAttempt(source=source, claim=claim, worker=worker, began=began)

    def _source(self, run: StoredRun, step: str, worker: Worker) -> EventSource:
        instance = decode_instance(run, reader=self._reader)
        return EventSource(
            instance=instance,
            step=definition_of(instance).graph.by_key[step],
            runner=self._runner,
            worker=worker.fields,
        )

    def decline(self, workflow: str, run_id: str, activation: Activation, attempt: int) -> Claim | Refusal:
        """Turn away a message that this process has no code for; another is sent soon, for a worker that has the code."""
        fence = self.chance.token()
        request = ClaimRequest(
            run_id=run_id,
            workflow=workflow,
            activation=activation.in_round(1),
            attempt=attempt,
            round=activation.generation,
            fence=fence,
            versions=(),
            durations=self.durations,
        )
        return self.storage.claim(request)

    def execute(self, attempt: HeldAttempt) -> Executed:
        """Execute the step of an attempt; a delivered event is its result already. Never raises."""
        return self._executor.execute(attempt)

    def interrupted(self, attempt: HeldAttempt, error: BaseException, *, earlier: int) -> Executed | None:
        """The result of an attempt that was interrupted beside the step's body; None if another attempt was meant.

        ``earlier`` is how often that has happened before.
        """
        return self._executor.interrupted(attempt, error, earlier=earlier)

    def commit(self, attempt: HeldAttempt, executed: Executed) -> Outcome:
        """Decide what follows from a result, and commit it whole or not at all.

        While the store is out of reach, the commit is tried again, as the same operation, until the lease is over; then
        ``StorageError`` is raised. A result that the store refuses for its own sake is a failed attempt. If that failure
        can't be committed either, not even without its details, the error is raised, and the lease ends the attempt.
        """
        deadline = self.clock.monotonic_ns() + self._lease_ns
        result = executed.result
        reduced = 0
        while True:
            try:
                return self._commit(attempt, result, executed.duration)
            except StorageError as error:
                if not error.transient and not isinstance(result, Failed):
                    result = _reduced(result, failed_in(attempt, error))
                elif not error.transient or self.clock.monotonic_ns() > deadline:
                    raise
                else:
                    self.clock.sleep(_PAUSE)
            except attempt.worker.stop_exceptions:
                continue  # it came after the step had ended; the repeated commit gets its first reply
            except Exception as error:  # a bad config, policy or value must not repeat for ever
                reduced += 1
                if reduced > _MOST_REDUCTIONS:
                    raise
                result = _reduced(result, failed_in(attempt, error))

    def fail(self, attempt: HeldAttempt, *, reason: str | BaseException, in_task: bool = True) -> Outcome:
        """Fail an attempt that is not executed, and stop renewing its lease. ``in_task``: this is where steps are executed."""
        result = lost(f"step {attempt.step.key}: {reason}") if isinstance(reason, str) else failed_in(attempt, reason)
        try:
            return self._failed_attempts.commit(attempt, result, 0, in_task=in_task)
        finally:
            self.release(attempt)

    def release(self, attempt: HeldAttempt) -> None:
        """Stop renewing a lease: its attempt is over, or given up. A repetition changes nothing."""
        self._keeper.let_go(attempt.held)

    def close(self) -> None:
        """End the thread that renews leases."""
        self._keeper.close()

    def _commit(self, attempt: HeldAttempt, result: StepResult, duration: int) -> Outcome:
        match result:
            case Completed():
                outcome = self._completion.commit(attempt, result, duration)
                if isinstance(outcome, Failed):
                    return self._failed_attempts.commit(attempt, outcome, duration)
                return outcome
            case Waiting():
                return self._commit_waiting(attempt, result, duration)
            case AnotherRound():
                return self._commit_round(attempt, result, duration)
            case Discarded():
                return self._commit_discarded(attempt, result, duration)
            case Failed():
                return self._failed_attempts.commit(attempt, result, duration)
            case _:
                assert_never(result)

    def _commit_waiting(self, attempt: HeldAttempt, result: Waiting, duration: int) -> Outcome:
        step = attempt.step
        commitment = self.storage.commit(
            Suspend(
                operation=f"{attempt.fence}c",
                run_id=attempt.instance.run_id,
                activation=attempt.activation,
                fence=attempt.fence,
                entry=attempt.entry(kind="attempt"),
                durations=self.durations,
                accepts=step.resume_events(attempt.config()),
                timeout=result.timeout,
                checks=step.__data_type__ is not None,
                took=duration,
            )
        )
        source, claim = attempt.source, attempt.claim
        return outcome_of(
            attempt,
            commitment,
            label="waiting",
            describe=lambda: step_events.waiting(
                source, claim, commitment, duration=duration, outcome="waiting", resumes_in=result.timeout
            ),
        )

    def _commit_round(self, attempt: HeldAttempt, result: AnotherRound, duration: int) -> Outcome:
        delay = result.after if self._backs_off else 0
        commitment = self.storage.commit(
            NextRound(
                operation=f"{attempt.fence}c",
                run_id=attempt.instance.run_id,
                activation=attempt.activation,
                fence=attempt.fence,
                entry=attempt.entry(kind="attempt", is_round=True),
                durations=self.durations,
                delay=delay,
                state=result.state,
                took=duration,
            )
        )
        return outcome_of(
            attempt,
            commitment,
            label="again",
            describe=lambda: step_events.waiting(
                attempt.source, attempt.claim, commitment, duration=duration, outcome="again", resumes_in=result.after
            ),
        )

    def _commit_discarded(self, attempt: HeldAttempt, result: Discarded, duration: int) -> Outcome:
        commitment = self.storage.commit(
            Suspend(
                operation=f"{attempt.fence}c",
                run_id=attempt.instance.run_id,
                activation=attempt.activation,
                fence=attempt.fence,
                entry=attempt.entry(kind="resume", event=result.event, reason=result.reason),
                durations=self.durations,
                accepts=attempt.step.resume_events(attempt.config()),
                timeout=None,
                discards=True,
                took=duration,
            )
        )
        return outcome_of(
            attempt,
            commitment,
            label="discarded",
            describe=lambda: step_events.discarded(
                attempt.source, attempt.claim, commitment, event=result.event, reason=result.reason
            ),
        )


def _reduced(result: StepResult, cause: Failed) -> Failed:
    # A result that can't be committed has failed for that reason; a failure that can't be committed loses its details.
    if not isinstance(result, Failed):
        # A config that can't be stored: as with an invalid result, no further attempt can help.
        return replace(cause, retry=cause.retry and not isinstance(cause.error, DataError))
    plain = StepFailedError(f"a {type_name(result.reason)} that can't be stored ({type_name(cause.reason)})")
    return Failed(kind=result.kind, reason=plain, error=plain, retry=result.retry, stacktrace=None, text=None)
