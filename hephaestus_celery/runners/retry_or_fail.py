"""Commits a failed attempt: a retry after its backoff, the transition that takes the failure, or the failure of the run."""

from __future__ import annotations

import logging

from hephaestus_celery.clock import Chance
from hephaestus_celery.core.definition.registry import definition_of
from hephaestus_celery.core.execution.limits import LOSSES
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.core.values.retry import DEFAULT_RETRY, RetryPolicy
from hephaestus_celery.runners import step_events
from hephaestus_celery.runners.after_commit import Outcome, outcome_of
from hephaestus_celery.runners.attempt import HeldAttempt, Worker
from hephaestus_celery.runners.completion import Completion
from hephaestus_celery.runners.step_exceptions import Failed
from hephaestus_celery.runners.step_result import as_event
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.claims import Attempt
from hephaestus_celery.storage.commits import Commitment, Fail, Retry
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.instances import may_catch
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import StoredRun

logger = logging.getLogger("hephaestus_celery")

_LONGEST_DELAY = 1e9  # seconds; Python has no date further away


class FailedAttempts:
    """Commits failed attempts. ``default_retry`` is the policy of the application; ``completion`` commits ``FAILED`` transitions."""

    def __init__(
        self,
        storage: Storage,
        completion: Completion,
        *,
        durations: Durations,
        default_retry: RetryPolicy,
        chance: Chance,
        backs_off: bool = True,
    ) -> None:
        self._storage = storage
        self._completion = completion
        self._durations = durations
        self._default_retry = default_retry
        self._chance = chance
        self._backs_off = backs_off

    def commit(self, attempt: HeldAttempt, result: Failed, duration: int, *, in_task: bool = True) -> Outcome:
        """Commit that an attempt has failed; ``duration`` is in nanoseconds.

        A route may compute where the failure leads. It is the user's code, so it is asked where steps are executed: unless
        this is ``in_task``, a worker is given the step once more, which fails it at once.
        """
        if _is_retried(attempt.held, result):
            return self._commit(attempt, result, duration, retry_in=self._delay(attempt))
        if attempt.step not in definition_of(attempt.instance).graph.catching:
            return self._commit(attempt, result, duration, retry_in=None)
        is_computed = (attempt.step, FAILED) in definition_of(attempt.instance).graph.dynamic
        if is_computed and not in_task:
            return self._commit(attempt, result, duration, retry_in=0 if _may_be_left(attempt.held) else None)
        taken = self._completion.commit(attempt, as_event(result), duration, in_task=in_task)
        if not isinstance(taken, Failed):
            return taken
        # Nothing takes the failure of the route that was to take the failure.
        return self._commit(attempt, taken, duration, retry_in=None, before=result)

    def _commit(
        self,
        attempt: HeldAttempt,
        result: Failed,
        duration: int,
        *,
        retry_in: float | None,
        before: Failed | None = None,
    ) -> Outcome:
        reason = (
            result.account if before is None else f"{result.account} (after the step's own failure: {before.account})"
        )
        entry = attempt.entry(kind="attempt", reason=reason)
        commitment = self._store(attempt.held, result, entry, retry_in=retry_in, duration=duration)
        source, claim = attempt.source, attempt.claim
        return outcome_of(
            attempt,
            commitment,
            label="failed" if retry_in is None else "retrying",
            describe=lambda: step_events.failed(
                source, claim, result, commitment, duration=duration, retry_in=retry_in
            ),
            error=result.error,
            retry_in=retry_in if commitment.verdict is Verdict.APPLIED else None,
        )

    def commit_unreadable(self, run: StoredRun, attempt: Attempt, result: Failed, worker: Worker) -> None:
        """Commit a failed attempt of a run from which this process can't make an instance.

        Its workflow may belong to another deployment. Then this application's policy decides, and only the history shows
        the failure. Where the workflow may have a transition that takes it, a worker that knows it is given the step.
        """
        state = run.steps[str(attempt.activation)]
        entry = encode_entry(
            kind="attempt",
            step=attempt.activation.step,
            attempt=attempt.number,
            reason=result.account,
            worker=state.worker or worker.hostname,
            task_id=attempt.holder,
            round=state.round if state.round > 1 else None,
            compensates=state.compensates,
            run_id=attempt.run_id,
        )
        retry_in = None
        if _is_retried(attempt, result):
            retry_in = self._default_retry.delay(attempt.number, chance=self._chance.fraction())
        elif _may_be_left(attempt) and may_catch(run.header):
            retry_in = 0
        self._store(attempt, result, entry, retry_in=retry_in, duration=0)

    def _store(
        self, attempt: Attempt, result: Failed, entry: str, *, retry_in: float | None, duration: int
    ) -> Commitment:
        operation = f"{attempt.fence}f"
        if retry_in is None:
            return self._storage.commit(
                Fail(
                    operation=operation,
                    run_id=attempt.run_id,
                    activation=attempt.activation,
                    fence=attempt.fence,
                    entry=entry,
                    durations=self._durations,
                    failure=codec.encode(result.failure),
                    kind=result.kind,
                    took=duration,
                )
            )
        return self._storage.commit(
            Retry(
                operation=operation,
                run_id=attempt.run_id,
                activation=attempt.activation,
                fence=attempt.fence,
                entry=entry,
                durations=self._durations,
                delay=int(retry_in * 1e6),
                kind=result.kind,
                took=duration,
            )
        )

    def _delay(self, attempt: HeldAttempt) -> float:
        if not self._backs_off:
            return 0
        chance = self._chance.fraction()
        step = attempt.step
        try:
            policy = definition_of(attempt.instance).retry_policy(step, self._default_retry)
            return min(float(policy.delay(attempt.number, chance=chance)), _LONGEST_DELAY)
        except Exception:
            # A policy of the application has failed, so the default policy decides.
            logger.exception("the retry policy of step %s failed; the default is used", step.key)
            return DEFAULT_RETRY.delay(attempt.number, chance=chance)


def _may_be_left(attempt: Attempt) -> bool:
    # Each process that the last failure is left to may be lost too.
    return attempt.number < attempt.max_attempts + LOSSES


def _is_retried(attempt: Attempt, result: Failed) -> bool:
    return result.retry and attempt.number < attempt.max_attempts
