"""Completing a step: makes the commit of its result, of the steps that follow, and of their messages.

A computed route depends on the steps that have completed so far. If more complete meanwhile, its commit is refused, and the
route is computed again. The result of a run is computed when the store says that the commit would complete it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import Target
from hephaestus_celery.core.definition.registry import definition_of
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.state import AtDone, Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.failure import Failure
from hephaestus_celery.runners import step_events
from hephaestus_celery.runners.after_commit import Outcome, outcome_of
from hephaestus_celery.runners.attempt import HeldAttempt
from hephaestus_celery.runners.contention import Contention
from hephaestus_celery.runners.execution import MOST_INTERRUPTIONS, Executor, failed_in
from hephaestus_celery.runners.message_dispatcher import Dispatcher
from hephaestus_celery.runners.messages import messages_of
from hephaestus_celery.runners.plan_cache import Moves
from hephaestus_celery.runners.retrying_reader import RetryingReader
from hephaestus_celery.runners.run_results import RunResults
from hephaestus_celery.runners.step_exceptions import Failed
from hephaestus_celery.runners.step_result import Completed, RunResult
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.commits import Commitment, Complete
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.instances import Given, decode_context
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import StoredRun
from hephaestus_celery.storage.starts import PreparedMessage

if TYPE_CHECKING:
    from hephaestus_celery.config import Settings

_KINDS = {None: "attempt", "external": "resume", "timeout": "timer"}
"""The kinds of entries in the history, by the source of the event that is applied."""
_MOST_KEPT = 1000  # computed results of runs that wait for a store which is away


class Completion:
    """Commits completed steps. If a route fails, its step has failed, and the caller commits that."""

    def __init__(
        self,
        storage: Storage,
        settings: Settings,
        dispatcher: Dispatcher,
        *,
        durations: Durations,
        reader: RetryingReader,
        executor: Executor,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._storage = storage
        self._dispatcher = dispatcher
        self._durations = durations
        self._reader = reader
        self._executor = executor
        self._contention = Contention(clock=clock, chance=chance)
        self._clock = clock
        self._moves = Moves(settings, dispatcher)
        self._results = RunResults(reader=reader, executor=executor, limit=settings.max_payload)
        self._computed: dict[str, tuple[Completed, Complete, RunResult]] = {}

    def commit(
        self, attempt: HeldAttempt, result: Completed, duration: int, *, in_task: bool = True
    ) -> Outcome | Failed:
        """Decide what follows from a result, and commit it. Returns the failure of its route if that fails.

        Unless this is ``in_task``, where steps are executed, the result of the run is left to a task of its own.
        """
        workflow, run_id = definition_of(attempt.instance), attempt.instance.run_id
        route = (attempt.source.step, result.event)
        if route not in workflow.graph.dynamic or not self._contention.is_likely(workflow, route):
            return self._commit(attempt, result, duration, attempt.claim.run, in_task=in_task)
        with self._contention.turn(run_id):  # the run has changed since the claim
            run = self._reader.load(run_id, steps=[attempt.step.key])
            return self._commit(attempt, result, duration, run or attempt.claim.run, in_task=in_task)

    def _commit(
        self, attempt: HeldAttempt, result: Completed, duration: int, run: StoredRun, *, in_task: bool
    ) -> Outcome | Failed:
        ticked = self._clock.monotonic_ns()
        decision = self._decided(attempt, result, run, {}, duration=duration)
        if isinstance(decision, Failed):
            return decision
        committed = self._commit_decision(attempt, result, decision, in_task=in_task)
        if isinstance(committed, Failed):
            return committed
        commitment, given = committed
        tick = max(0, self._clock.monotonic_ns() - ticked)
        source, claim = attempt.source, attempt.claim
        return outcome_of(
            attempt,
            commitment,
            label=result.event if result.failed is None else "failed",
            describe=lambda: step_events.completed(
                source, claim, result, commitment, duration=duration, tick=tick, given=given
            ),
            error=_error_of(attempt, result, given),
        )

    def _commit_decision(
        self, attempt: HeldAttempt, result: Completed, decision: Complete, *, in_task: bool
    ) -> tuple[Commitment, RunResult | None] | Failed:
        if definition_of(attempt.instance).gives_result and decision.done_entry:
            return self._commit_giving(attempt, result, decision, in_task=in_task)
        if decision.expected is None:
            return self._storage.commit(decision), None
        with self._contention.turn(attempt.instance.run_id):
            decided = self._commit_decided(attempt, result, decision)
        return decided if isinstance(decided, Failed) else (decided, None)

    def _commit_giving(
        self, attempt: HeldAttempt, result: Completed, decision: Complete, *, in_task: bool
    ) -> tuple[Commitment, RunResult | None] | Failed:
        # A commit that may complete a run of a workflow with a result, and what that came to.
        read: dict[str, str] = {}
        while True:
            asked = self._computed_before(attempt, result)
            asked = asked or self._ask(attempt, result, decision, read, in_task=in_task)
            if isinstance(asked, Failed):
                return asked
            commitment, given = (asked, None) if isinstance(asked, Commitment) else self._give(attempt, result, *asked)
            if commitment.verdict is not Verdict.CONFLICT or commitment.run is None:
                return commitment, given
            again = self._decided(attempt, result, commitment.run, read, duration=decision.took)
            if isinstance(again, Failed):
                return again
            decision = again

    def _ask(
        self, attempt: HeldAttempt, result: Completed, decision: Complete, read: dict[str, str], *, in_task: bool
    ) -> Commitment | tuple[Complete, RunResult] | Failed:
        # Commit, unless that would complete the run: then compute its result, for another commit, against the same number of
        # applied results.
        commitment = self._storage.commit(replace(decision, at_done=AtDone.ASKS if in_task else AtDone.STARTS))
        if commitment.verdict is not Verdict.WANTED or commitment.run is None:
            return commitment
        given = self._results.compute(attempt, result, commitment.run, read)
        if isinstance(given, Failed):
            return given
        return self._giving(attempt, decision, given, expected=commitment.run.applied), given

    def _giving(self, attempt: HeldAttempt, decision: Complete, given: RunResult, *, expected: int) -> Complete:
        failed = given.failed
        if failed is None:
            return replace(decision, outcome=given.text, expected=expected)
        told = {name: text for name, text in failed.failure.items() if name != "stacktrace"}
        return replace(
            decision,
            at_done=AtDone.FAILS,
            outcome=codec.encode(failed.failure),
            refused=codec.encode(told),
            done_entry=attempt.done_entry(reason=failed.account),
            expected=expected,
        )

    def _computed_before(self, attempt: HeldAttempt, result: Completed) -> tuple[Complete, RunResult] | None:
        # What this attempt has computed for this result, and could not commit, since the store was away.
        before = self._computed.pop(attempt.fence, None)
        return None if before is None or before[0] != result else before[1:]

    def _give(
        self, attempt: HeldAttempt, result: Completed, decision: Complete, given: RunResult
    ) -> tuple[Commitment, RunResult | None]:
        # A caller that commits again, since the store was away, commits the same: it may be stored already.
        if len(self._computed) >= _MOST_KEPT:
            self._computed.clear()  # of attempts that were given up; what another needs is computed again
        self._computed[attempt.fence] = result, decision, given
        commitment = self._storage.commit(decision)
        self._computed.pop(attempt.fence, None)
        return commitment, given

    def _commit_decided(self, attempt: HeldAttempt, result: Completed, decision: Complete) -> Commitment | Failed:
        # A conflict means that another step has completed meanwhile, so there are no more conflicts than steps.
        read: dict[str, str] = {}
        refusals = 0
        while True:
            commitment = self._storage.commit(decision)
            if commitment.verdict is not Verdict.CONFLICT or commitment.run is None:
                return commitment
            self._contention.note_refusal(definition_of(attempt.instance))
            began = self._clock.monotonic_ns()
            again = self._decided(attempt, result, commitment.run, read, duration=decision.took)
            if isinstance(again, Failed):
                return again
            decision = again
            commitment = self._storage.commit(decision)
            if commitment.verdict is not Verdict.CONFLICT:
                return commitment
            # The same commit is repeated: if it is refused, its reply has the state of the run after this pause.
            refusals += 1
            self._contention.pause(refusals=refusals, nanoseconds=self._clock.monotonic_ns() - began)

    def _decided(
        self, attempt: HeldAttempt, result: Completed, run: StoredRun, read: dict[str, str], *, duration: int
    ) -> Complete | Failed:
        # The targets of a result in the present state of the run. ``read`` has results that were read before.
        interruptions = 0
        while True:
            try:
                targets, settled = self._targets(attempt, result, run, read)
            except BaseException as error:  # noqa: BLE001 - a route is the user's code; its failure is the step's
                if interruptions < MOST_INTERRUPTIONS and self._executor.was_meant_for_another(attempt, error):
                    interruptions += 1
                    continue
                return failed_in(attempt, error)
            workflow, route = definition_of(attempt.instance), (attempt.source.step, result.event)
            if route in workflow.graph.dynamic and result.failed is None:  # the time of a failed attempt may be over
                late = self._executor.in_time(attempt, result, since=attempt.began)
                if isinstance(late, Failed):
                    return late
                if settled:
                    self._contention.note_calm(workflow, route)
            expected = None if settled else run.applied
            if result.failed is None:
                return self._decision(attempt, result, targets, expected=expected, duration=duration)
            try:
                return self._decision(attempt, result, targets, expected=expected, duration=duration)
            except Exception as error:  # noqa: BLE001 - a config of the user's that can't be stored: the failure is not taken
                return failed_in(attempt, error)

    def _targets(
        self, attempt: HeldAttempt, result: Completed, run: StoredRun, read: dict[str, str]
    ) -> tuple[tuple[Target, ...], bool]:
        # The targets of the event, and whether they are final: true for a declared transition, and for a route that has
        # accessed only data that can't change any more.
        instance, step = attempt.source.instance, attempt.source.step
        undoes = step in definition_of(instance).graph.compensating and result.event in step.events
        if attempt.launches_done or undoes:
            return (), True
        if (step, result.event) not in definition_of(instance).graph.dynamic:
            return definition_of(instance).targets(step, result.event, instance.context), True
        given = Given(step=step.key, event=result.event, result=result.result)
        known = decode_context(
            run, run_id=instance.run_id, reader=self._reader, definition=definition_of(instance), given=given, read=read
        )
        missed: list[str] = []

        def find(key: str) -> dict[str, Any] | Failure:
            try:
                return known.find(key)
            except KeyError:
                missed.append(key)
                raise

        context = known.apart(read_result=find)
        targets = definition_of(instance).targets(step, result.event, context)
        return targets, not (context.is_made("steps") or context.is_made("failures") or missed)

    def _decision(
        self,
        attempt: HeldAttempt,
        result: Completed,
        targets: tuple[Target, ...],
        *,
        expected: int | None,
        duration: int,
    ) -> Complete:
        instance, step = attempt.source.instance, attempt.source.step
        workflow = definition_of(instance)
        move = self._moves.find(workflow, step, result.event, targets)
        fixed = self._dispatcher.lanes_are_fixed
        resume = None if result.failed is not None else attempt.claim.resume
        return Complete(
            operation=f"{attempt.fence}c",
            run_id=instance.run_id,
            activation=attempt.activation,
            fence=attempt.fence,
            entry=attempt.entry(
                kind=_KINDS[resume and resume.source],
                event=result.event,
                reason=None if result.failed is None else result.failed.account,
            ),
            durations=self._durations,
            event=result.event,
            result=result.result,
            metadata=result.metadata,
            settlement=move.settlement,
            attempts=move.attempts,
            configs=move.configs,
            rank=move.rank,
            done_entry=attempt.done_entry() if Done.key in (step.key, *move.settlement.rows) else "",
            stuck=move.stuck,
            prepared=self._prepared(attempt, targets),
            lanes=move.lanes if fixed else self._moves.lanes(workflow, instance.run_id, move.attempts),
            expected=expected,
            computed=(step, result.event) in workflow.graph.dynamic,
            took=duration,
            kind=None if result.failed is None else result.failed.kind,
            undo=None if result.failed is not None else self._moves.undo(workflow, step, instance.run_id),
        )

    def _prepared(self, attempt: HeldAttempt, targets: tuple[Target, ...]) -> dict[str, PreparedMessage]:
        starts = [DispatchStep(Activation(target.step.key), 1, 1) for target in targets if target.step is not Done]
        hints = messages_of(attempt.source.instance, starts)
        prepared = {hint.step: self._dispatcher.prepare(hint, parent=attempt.worker.task_id) for hint in hints}
        return {key: message for key, message in prepared.items() if message is not None}


def _error_of(attempt: HeldAttempt, result: Completed, given: RunResult | None) -> Exception | None:
    # What monitors of tasks see as the failure of the task: that of its own step.
    failed = given and given.failed if attempt.launches_done else result.failed
    return None if failed is None else failed.error
