"""The storage port over transactions: each call locks, loads, decides with the rules of the core, and saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.resolve import Candidates, RunReference
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.exceptions import HephaestusError
from hephaestus_celery.storage.async_port import AsyncStorage
from hephaestus_celery.storage.claims import Attempt, Claim, ClaimRequest, Refusal
from hephaestus_celery.storage.commits import AnyCommit, Commitment
from hephaestus_celery.storage.due import DueEntry, Outstanding, Sent, Tick
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.event_stream import Reading
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.pauses import PauseReport, PauseRequest
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.reruns import Copied, Rerun
from hephaestus_celery.storage.resume_and_cancel import Cancellation, CancelRequest, Delivery, DeliveryReport
from hephaestus_celery.storage.starts import NewRun
from hephaestus_celery.storage.transactional.claims import claim_in, create_in, renew_in
from hephaestus_celery.storage.transactional.commits import commit_in
from hephaestus_celery.storage.transactional.deletion import cancel_one_in, delete_in
from hephaestus_celery.storage.transactional.due import come_due_in, redirect_in, resend_in, seize_in
from hephaestus_celery.storage.transactional.event_stream import (
    acknowledge_in,
    acknowledge_in_part_in,
    browse_in,
    read_in,
    take_over_in,
)
from hephaestus_celery.storage.transactional.lane_looks import look_at_lanes
from hephaestus_celery.storage.transactional.lanes import go_on_in
from hephaestus_celery.storage.transactional.loops import Threaded
from hephaestus_celery.storage.transactional.pauses import (
    pause_in,
    pause_workflow_in,
    unpause_in,
    unpause_workflow_in,
)
from hephaestus_celery.storage.transactional.readers import Readers
from hephaestus_celery.storage.transactional.reruns import rerun_in
from hephaestus_celery.storage.transactional.resume_and_cancel import (
    cancel_in,
    candidates_in,
    deliver_in,
    schedule_in,
    unschedule_in,
)
from hephaestus_celery.storage.transactional.transaction import Transaction


class TransactionalStorage(Readers):
    """The base of a store that provides transactions, and a way to wait until another call has saved a change.

    One store is one partition. Its schedulers need no lock: a transaction gives each due entry to one of them. Subclasses
    provide ``name``, :meth:`transaction`, ``await_due``, ``await_events``, ``wait_finished``, ``is_one_with``, ``separate``, ``resign`` and
    ``close``.
    """

    name: str
    partitions = 1

    @property
    def url(self) -> str | None:
        return None

    def read_clock(self) -> None:
        """Each transaction reads the clock anew."""

    def aio(self) -> AsyncStorage:
        return Threaded(cast("Storage", self))  # with what subclasses provide

    def create(self, run: NewRun) -> Sequence[DispatchStep]:
        with self.transaction() as transaction:
            return create_in(transaction, run, self._times_by(run.durations))

    def rerun(self, rerun: Rerun) -> Sequence[DispatchStep]:
        with self.transaction() as transaction:
            return rerun_in(transaction, rerun, self._times_by(rerun.run.durations))

    def copy(self, run_id: str, *, durations: Durations) -> Copied:
        """Nothing is left to copy: a rerun is made whole."""
        del run_id, durations
        return Copied()

    def create_many(self, runs: Sequence[NewRun]) -> Sequence[Sequence[DispatchStep] | Exception]:
        found: list[Sequence[DispatchStep] | Exception] = []
        for run in runs:
            try:
                found.append(self.create(run))
            except HephaestusError as error:
                found.append(error)
        return found

    def claim(self, request: ClaimRequest) -> Claim | Refusal:
        with self.transaction() as transaction:
            return claim_in(transaction, request, self._times_by(request.durations))

    def commit(self, commit: AnyCommit) -> Commitment:
        with self.transaction() as transaction:
            return commit_in(transaction, commit, self._times_by(commit.durations))

    def settle(self, run_id: str, activation: Activation, *, durations: Durations) -> Commitment:
        """Nothing is left to settle: a commit settles all of its edges at once."""
        del run_id, activation, durations
        return Commitment(verdict=Verdict.STALE)

    def undo(self, run_id: str, *, durations: Durations) -> Commitment:
        """Nothing is left to drop: a run that undoes is gone through at once."""
        del run_id, durations
        return Commitment(verdict=Verdict.STALE)

    def renew(self, attempts: Sequence[Attempt], *, wanted: bool = False) -> Sequence[bool]:
        with self.transaction() as transaction:
            return [
                renew_in(transaction, attempt, self._times(lease=attempt.lease), wanted=wanted) for attempt in attempts
            ]

    def seize(
        self,
        run_id: str,
        activation: Activation,
        *,
        attempt: int,
        holder: str,
        fence: str,
        reason: str,
        worker: str | None,
        durations: Durations,
        timed_out: bool = False,
    ) -> DueEntry | None:
        with self.transaction() as transaction:
            record = transaction.find_run(run_id)
            if record is None:
                return None
            return seize_in(
                transaction,
                activation,
                record,
                self._times_by(durations),
                attempt=attempt,
                holder=holder,
                fence=fence,
                reason=reason,
                worker=worker,
                timed_out=timed_out,
                stream=durations.stream,
            )

    def schedule(self, run_id: str, activation: Activation, *, reference: str, delay: int) -> bool:
        with self.transaction() as transaction:
            return schedule_in(transaction, run_id, activation, self._times(), reference=reference, delay=delay)

    def unschedule(self, run_id: str, activation: Activation, *, reference: str, operation: str) -> bool:
        with self.transaction() as transaction:
            return unschedule_in(
                transaction, run_id, activation, self._times(), reference=reference, operation=operation
            )

    def tick(self, partition: int, *, owner: str, worker: str, seize: bool, durations: Durations) -> Tick:
        del partition, owner
        with self.transaction() as transaction:
            began = self._times().moment
            transaction.forget_replies(began)
            entries: list[DueEntry] = []
            for run_id, item, at in transaction.due_until(began):
                # Look again: an earlier entry may have been about the same step, and have moved this one.
                if transaction.due_at(run_id, item) == at:
                    fence, times = self._chance.token(), self._times_by(durations)
                    entry = come_due_in(
                        transaction,
                        run_id,
                        item,
                        times,
                        fence=fence,
                        worker=worker,
                        seize=seize,
                        stream=durations.stream,
                    )
                    entries.extend([] if entry is None else [entry])
            lanes = look_at_lanes(transaction, self._times_by(durations))
            next_at = self._known_due = transaction.soonest_due()
            left = None if next_at is None else max(0, next_at - self._times().moment)
            return Tick(held=True, next_in=left, entries=entries, lanes=lanes)

    def resend(
        self,
        partition: int,
        lost: Mapping[Outstanding, str | None],
        *,
        lane: str,
        operation: str,
        worker: str,
        durations: Durations,
    ) -> Sequence[DueEntry]:
        del partition
        with self.transaction() as transaction:
            times = self._times_by(durations)
            sent = [
                resend_in(
                    transaction,
                    message,
                    times,
                    lane=goes,
                    operation=operation,
                    worker=worker,
                    stream=durations.stream,
                )
                for message, goes in lost.items()
            ]
            entries = [entry for entry in sent if entry is not None]
            go_on_in(transaction, lane, after=len(entries), now=times.moment)
            return entries

    def redirect(self, sent: Sequence[Sent], *, durations: Durations) -> None:
        with self.transaction() as transaction:
            for each in sent:
                redirect_in(transaction, each, self._times_by(durations))

    def outstanding(self, *lanes: str) -> int:
        with self.transaction() as transaction:
            return sum(map(transaction.count_waiting, lanes))

    def report(self, worker: str, holdings: str | None, *, lifetime: int) -> None:
        with self.transaction() as transaction:
            transaction.save_report(worker, holdings, ends_at=self._times().moment + lifetime)

    def reports(self) -> Sequence[str]:
        with self.transaction() as transaction:
            return transaction.reports(self._times().moment)

    def deliver(self, delivery: Delivery) -> DeliveryReport:
        with self.transaction() as transaction:
            return deliver_in(transaction, delivery, self._times_by(delivery.durations))

    def cancel(self, request: CancelRequest) -> Cancellation | None:
        with self.transaction() as transaction:
            return cancel_in(transaction, request, self._times_by(request.durations))

    def read_events(
        self, partition: int, *, group: str, consumer: str, limit: int, after: str | None = None
    ) -> Reading:
        del partition
        with self.transaction() as transaction:
            return read_in(transaction, group=group, consumer=consumer, limit=limit, after=after, now=self.now())

    def take_over_events(
        self, partition: int, *, group: str, consumer: str, limit: int, idle: int, start: str
    ) -> Reading:
        del partition, start
        with self.transaction() as transaction:
            return take_over_in(transaction, group=group, consumer=consumer, limit=limit, idle=idle, now=self.now())

    def browse_events(self, partition: int, *, after: str | None, limit: int) -> Reading:
        del partition
        with self.transaction() as transaction:
            return browse_in(transaction, after=after, limit=limit)

    def acknowledge_events(self, partition: int, *, group: str, ids: Sequence[str]) -> None:
        del partition
        with self.transaction() as transaction:
            acknowledge_in(transaction, group=group, ids=ids)

    def acknowledge_events_in_part(self, partition: int, *, group: str, id: str, places: Sequence[int]) -> None:
        del partition
        with self.transaction() as transaction:
            acknowledge_in_part_in(transaction, group=group, id=id, places=places)

    def leave_events(self, partition: int, *, group: str, consumer: str) -> None:
        """A consumer is nothing but its name here."""
        del partition, group, consumer

    def pause(self, request: PauseRequest) -> PauseReport:
        with self.transaction() as transaction:
            return pause_in(transaction, request, self._times_by(request.durations))

    def unpause(self, request: PauseRequest) -> PauseReport:
        with self.transaction() as transaction:
            return unpause_in(transaction, request, self._times_by(request.durations))

    def pause_workflow(self, family: str, *, operation: str, by: str | None, durations: Durations) -> bool:
        with self.transaction() as transaction:
            return pause_workflow_in(transaction, family, self._times_by(durations), operation=operation, by=by)

    def unpause_workflow(self, family: str, *, operation: str, durations: Durations) -> bool:
        with self.transaction() as transaction:
            return unpause_workflow_in(transaction, family, self._times_by(durations), operation=operation)

    def cancel_many(
        self, run_ids: Sequence[str], *, operation: str, reason: str | None, entry: str, durations: Durations
    ) -> Sequence[Cancellation | Untouched]:
        found: list[Cancellation | Untouched] = []
        for run_id in run_ids:
            request = CancelRequest(run_id=run_id, operation=operation, reason=reason, entry=entry, durations=durations)
            with self.transaction() as transaction:
                found.append(cancel_one_in(transaction, request, self._times_by(durations)))
        return found

    def delete_many(self, run_ids: Sequence[str], *, operation: str) -> Sequence[Untouched | None]:
        found: list[Untouched | None] = []
        for run_id in run_ids:
            with self.transaction() as transaction:
                found.append(delete_in(transaction, run_id, operation=operation, now=self._times().moment))
        return found

    def candidates(self, instance_id: str, *, family: str | None, version: int | None = None) -> Candidates:
        reference = RunReference(id=instance_id, family=family, version=version, exact=version is not None)
        with self.transaction() as transaction:
            return candidates_in(transaction, reference)

    def is_sooner(self, transaction: Transaction) -> bool:
        """Whether something comes due sooner than the last tick said; ``await_due`` waits for that."""
        soonest = transaction.soonest_due()
        return soonest is not None and (self._known_due is None or soonest < self._known_due)
