"""Commits a failed attempt: a retry after its backoff, or the failure of the run."""

from __future__ import annotations

import logging

from hephaestus_celery.clock import Chance
from hephaestus_celery.core.definition.registry import definition_of
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.retry import DEFAULT_RETRY, RetryPolicy
from hephaestus_celery.runners import events
from hephaestus_celery.runners.after_commit import Outcome, outcome_of
from hephaestus_celery.runners.attempt import HeldAttempt, Worker
from hephaestus_celery.runners.step_exceptions import Failed
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.claims import Attempt
from hephaestus_celery.storage.commits import Commitment, Fail, Retry
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import StoredRun

logger = logging.getLogger("hephaestus_celery")

_LONGEST_DELAY = 1e9  # seconds; Python has no date further away


class FailedAttempts:
    """Commits failed attempts. ``default_retry`` is the policy of the application."""

    def __init__(self, storage: Storage, *, durations: Durations, default_retry: RetryPolicy, chance: Chance) -> None:
        self._storage = storage
        self._durations = durations
        self._default_retry = default_retry
        self._chance = chance

    def commit(self, attempt: HeldAttempt, result: Failed, duration: int) -> Outcome:
        """Commit that an attempt has failed; ``duration`` is in nanoseconds."""
        retry_in = self._delay(attempt) if _is_retried(attempt.held, result) else None
        entry = attempt.entry(kind="attempt", reason=result.account)
        commitment = self._store(attempt.held, result, entry, retry_in=retry_in, duration=duration)
        source, claim = attempt.source, attempt.claim
        return outcome_of(
            attempt,
            commitment,
            label="failed" if retry_in is None else "retrying",
            describe=lambda: events.failed(source, claim, result, commitment, duration=duration, retry_in=retry_in),
            error=result.error,
            retry_in=retry_in if commitment.verdict is Verdict.APPLIED else None,
        )

    def commit_unreadable(self, run: StoredRun, attempt: Attempt, result: Failed, worker: Worker) -> None:
        """Commit a failed attempt of a run from which this process can't make an instance.

        Its workflow may belong to another deployment. Then this application's policy decides, and only the history shows
        the failure.
        """
        entry = encode_entry(
            kind="attempt",
            step=attempt.activation.step,
            attempt=attempt.number,
            reason=result.account,
            worker=run.steps[str(attempt.activation)].worker or worker.hostname,
        )
        retry_in = None
        if _is_retried(attempt, result):
            retry_in = self._default_retry.delay(attempt.number, chance=self._chance.fraction())
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
        chance = self._chance.fraction()
        step = attempt.step
        try:
            policy = definition_of(attempt.instance).retry_policy(step, self._default_retry)
            return min(float(policy.delay(attempt.number, chance=chance)), _LONGEST_DELAY)
        except Exception:
            # A policy of the application has failed, so the default policy decides.
            logger.exception("the retry policy of step %s failed; the default is used", step.key)
            return DEFAULT_RETRY.delay(attempt.number, chance=chance)


def _is_retried(attempt: Attempt, result: Failed) -> bool:
    return result.retry and attempt.number < attempt.max_attempts
