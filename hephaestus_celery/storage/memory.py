"""Instances in the memory of this process: for tests, notebooks and eager applications. Gone when the process is."""

from __future__ import annotations

import bisect
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from hephaestus_celery import clock
from hephaestus_celery.core import run as transitions
from hephaestus_celery.core.commands import ClearTimer, DispatchStep, Finish, SetTimer
from hephaestus_celery.core.lifecycle import Status, StepStatus
from hephaestus_celery.core.run import Decision, Due, RunState, Times, Verdict
from hephaestus_celery.exceptions import AlreadyRunningError, InstanceNotFoundError
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.base import (
    RESCUE_REASONS,
    Cancellation,
    Candidates,
    Claim,
    ClaimRequest,
    Commitment,
    Complete,
    Delivered,
    Delivery,
    DeliveryReport,
    DueEntry,
    Fail,
    Lease,
    NewRun,
    Query,
    Refusal,
    Refused,
    Retry,
    StoredEntry,
    StoredRun,
    Suspend,
    Tick,
)

_NEVER = 1 << 62


@dataclass(slots=True)
class _Record:
    new: NewRun
    state: RunState
    started_at: int
    start: str
    results: dict[str, str] = field(default_factory=dict[str, str])
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    configs: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    data: dict[str, str] = field(default_factory=dict[str, str])
    early: dict[str, str] = field(default_factory=dict[str, str])
    history: list[StoredEntry] = field(default_factory=list[StoredEntry])
    failure: str | None = None
    cancel_reason: str | None = None


class MemoryStorage:
    """The port over plain dictionaries and one lock; the transitions are the pure ones of :mod:`core.run`.

    Runs are kept until the process ends or ``close()``. There is no message to lose and no reply, so operations are not
    remembered; what comes due is kept as in Redis.
    """

    name = "memory"
    partitions = 1

    def __init__(
        self, *, dispatch_timeout: timedelta = timedelta(seconds=30), lease: timedelta = timedelta(seconds=30)
    ) -> None:
        self._changed = threading.Condition()
        self._runs: dict[str, _Record] = {}
        self._order: list[tuple[int, str]] = []
        self._by_id: dict[str, list[str]] = {}
        self._active: dict[str, list[str]] = {}
        self._due: dict[tuple[str, str], int] = {}
        self._known = _NEVER
        self._dispatch_timeout = dispatch_timeout // timedelta(microseconds=1)
        self._lease = lease // timedelta(microseconds=1)

    def now(self) -> int:
        return clock.system_time_ns() // 1000

    def create(self, run: NewRun) -> DispatchStep:
        with self._changed:
            times = self._times()
            holder = self._holder(run)
            if holder is not None:
                raise AlreadyRunningError(already_running(run, holder))
            decision = transitions.create(initial=run.step, max_attempts=run.max_attempts, times=times)
            record = _Record(run, decision.state, times.now, str(times.now * 1000))
            if run.config is not None:
                record.configs[run.step] = (0, run.config)
            self._runs[run.run_id] = record
            bisect.insort(self._order, (times.now, run.run_id))
            self._by_id.setdefault(run.instance_id, []).append(run.run_id)
            self._active.setdefault(run.instance_id, []).append(run.run_id)
            return self._carry_out(record, decision)[0]

    def claim(self, request: ClaimRequest) -> Claim | Refusal:
        with self._changed:
            record = self._runs.get(request.run_id)
            if record is None:
                return Refusal(reason=Refused.UNKNOWN_RUN)
            if record.new.version not in request.versions:
                return Refusal(reason=Refused.UNKNOWN_VERSION, detail=f"{record.new.name} version {record.new.version}")
            before = record.state
            decision = transitions.claim(
                before,
                request.step,
                attempt=request.attempt,
                fence=request.fence,
                launch=request.step == transitions.DONE,
                times=self._times(),
                limit=request.limit,
                holder=request.holder,
            )
            if decision.verdict is not Verdict.APPLIED:
                return Refusal(reason=Refused(decision.verdict.value))
            self._carry_out(record, decision)
            step = decision.state.steps[request.step]
            return Claim(
                run=self._stored(record),
                first=decision.state.advances > before.advances,
                sequence=decision.sequence,
                queued_at=step.queued_at or 0,
                claimed_at=step.claimed_at or 0,
                waiting_since=step.waiting_since,
                resume=step.resume,
                data=record.data.get(request.step),
            )

    def commit(self, commit: Complete | Suspend | Retry | Fail) -> Commitment:
        with self._changed:
            record = self._runs.get(commit.run_id)
            if record is None:
                return Commitment(verdict=Verdict.STALE)
            before = record.state
            times = self._times()
            match commit:
                case Complete():
                    decision = _complete(before, commit, times)
                case Suspend():
                    decision = _suspend(before, commit, times)
                case Retry():
                    decision = transitions.retry(
                        before, commit.step, fence=commit.fence, delay=commit.delay, times=times
                    )
                case Fail():
                    decision = transitions.fail(before, commit.step, fence=commit.fence, times=times)
            if decision.verdict is Verdict.CONFLICT:
                return Commitment(verdict=Verdict.CONFLICT, run=self._stored(record))
            if decision.verdict is Verdict.STALE:
                return Commitment(verdict=Verdict.STALE)
            self._remember(record, commit, decision, times.now)
            if decision.verdict is Verdict.APPLIED:
                _record_data(record, commit, decision)
            return self._committed(record, before, commit, decision)

    def renew(self, leases: Sequence[Lease]) -> Sequence[bool]:
        with self._changed:
            return [self._renew(lease) for lease in leases]

    def seize(self, run_id: str, step: str, *, attempt: int, holder: str, fence: str, entry: str) -> int | None:
        with self._changed:
            record = self._runs.get(run_id)
            held = None if record is None else record.state.steps.get(step)
            if record is None or held is None or held.holder != holder:
                return None
            times = self._times()
            decision = transitions.seize(record.state, step, attempt=attempt, fence=fence, times=times)
            if decision.verdict is not Verdict.APPLIED:
                return None
            self._carry_out(record, decision)
            record.history.append(_entry(decision.sequence, "", finished_at=times.now, detail=entry))
            return decision.sequence

    def schedule(self, run_id: str, step: str, *, reference: str, delay: int) -> bool:
        with self._changed:
            record = self._runs.get(run_id)
            if record is None or record.state.status.final:
                return False
            self._due[run_id, f"{step}|{reference}"] = self.now() + delay
            self._changed.notify_all()
            return True

    def unschedule(self, run_id: str, step: str, *, reference: str) -> bool:
        with self._changed:
            return self._due.pop((run_id, f"{step}|{reference}"), None) is not None

    def tick(self, partition: int, *, owner: str, worker: str, seize: bool) -> Tick:
        del partition, owner, seize  # one process, whose threads give no sign of life only when they are gone
        entries: list[DueEntry] = []
        with self._changed:
            now = self.now()
            for (run_id, member), at in sorted(self._due.items(), key=lambda item: item[1]):
                if at > now:
                    break
                # Asked again: an entry before it may have been about the same step, and have moved it.
                entry = self._come_due(run_id, member, worker) if self._due.get((run_id, member)) == at else None
                if entry is not None:
                    entries.append(entry)
            self._known = self._soonest()
            return Tick(held=True, next_in=max(0, self._known - self.now()) if self._due else None, entries=entries)

    def resign(self, *, owner: str) -> None:
        """Nobody else would take over."""

    def await_due(self, *, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._soonest() < self._known, timeout)

    def _soonest(self) -> int:
        return min(self._due.values(), default=_NEVER)

    def separate(self) -> MemoryStorage:
        return self

    def deliver(self, delivery: Delivery) -> DeliveryReport:
        with self._changed:
            record = self._runs.get(delivery.run_id)
            if record is None:
                return DeliveryReport(outcome=Delivered.UNKNOWN_RUN)
            state = record.state
            waiting = transitions.waiting_for(state, delivery.name, step=delivery.step)
            executing = tuple(
                key
                for key, step in state.steps.items()
                if step.status is StepStatus.ACTIVE
                and step.fence is not None
                and not state.status.final
                and delivery.step in (None, key)
            )
            dispatches: tuple[DispatchStep, ...] = ()
            if len(waiting) == 1:
                key = waiting[0]
                decision = transitions.deliver(state, key, name=delivery.name, source="external", times=self._times())
                record.data[key] = delivery.data
                dispatches = self._carry_out(record, decision)
                outcome = Delivered.ACCEPTED
            elif waiting:
                outcome = Delivered.AMBIGUOUS
            elif delivery.keep and not state.status.final:
                slot = transitions.early_slot(delivery.name, delivery.step)
                record.early.setdefault(slot, delivery.data)
                decision = transitions.keep(state, name=delivery.name, step=delivery.step, times=self._times())
                self._carry_out(record, decision)
                outcome = Delivered.KEPT
            else:
                outcome = Delivered.NOT_WAITING
            return DeliveryReport(
                outcome=outcome, status=state.status, steps=waiting, executing=executing, dispatches=dispatches
            )

    def cancel(self, run_id: str, *, operation: str, reason: str | None, entry: str) -> Cancellation | None:
        del operation
        with self._changed:
            record = self._runs.get(run_id)
            if record is None:
                raise InstanceNotFoundError(f"no run {run_id}")
            times = self._times()
            decision = transitions.cancel(record.state, times=times)
            if decision.verdict is Verdict.STALE:
                return None
            record.cancel_reason = reason
            record.history.append(_entry(decision.sequence, "", finished_at=times.now, detail=entry))
            self._carry_out(record, decision)
            return Cancellation(sequence=decision.sequence, run=self._stored(record), claimed=claimed(decision.state))

    def load(self, run_id: str) -> StoredRun | None:
        with self._changed:
            record = self._runs.get(run_id)
            return None if record is None else self._stored(record)

    def candidates(self, instance_id: str, *, family: str | None) -> Candidates:
        def of_family(run_id: str) -> bool:
            return family in (None, self._runs[run_id].new.family)

        with self._changed:
            known = [run_id for run_id in self._by_id.get(instance_id, []) if of_family(run_id)]
            active = [run_id for run_id in self._active.get(instance_id, []) if of_family(run_id)]
            return Candidates(active=active, newest=known[-1] if known else None)

    def history(self, run_id: str) -> Sequence[StoredEntry]:
        with self._changed:
            record = self._runs.get(run_id)
            return [] if record is None else list(record.history)

    def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, StoredRun]], str | None]:
        with self._changed:
            found: list[tuple[str, StoredRun]] = []
            below = _read_cursor(query.cursor)
            for position in reversed(self._order):
                record = self._runs[position[1]]
                if (below is not None and position >= below) or not _matches(record, query):
                    continue
                if len(found) == query.limit:
                    last = found[-1]
                    return found, f"{last[1].started_at}:{last[0]}"
                found.append((position[1], self._stored(record)))
            return found, None

    def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        def finished() -> bool:
            record = self._runs.get(run_id)
            return record is None or record.state.status.final

        with self._changed:
            return self._changed.wait_for(finished, timeout)

    def close(self) -> None:
        """Nothing to let go of: the runs stay readable."""

    def _times(self) -> Times:
        return Times(now=self.now(), dispatch_timeout=self._dispatch_timeout, lease=self._lease)

    def _holder(self, run: NewRun) -> str | None:
        if run.scope == "none":
            return None
        for run_id in self._active.get(run.instance_id, []):
            other = self._runs[run_id].new
            if "global" in (run.scope, other.scope):
                return run_id
            if run.family == other.family and (run.scope == "workflow" or run.version == other.version):
                return run_id
        return None

    def _carry_out(self, record: _Record, decision: Decision) -> tuple[DispatchStep, ...]:
        record.state = decision.state
        dispatches: list[DispatchStep] = []
        for command in decision.commands:
            match command:
                case DispatchStep():
                    dispatches.append(command)
                case SetTimer():
                    self._due[record.new.run_id, command.step] = command.at
                    self._changed.notify_all()
                case ClearTimer():
                    self._due.pop((record.new.run_id, command.step), None)
                case Finish():
                    self._finish(record)
        return tuple(dispatches)

    def _renew(self, lease: Lease) -> bool:
        record = self._runs.get(lease.run_id)
        if record is None:
            return False
        decision = transitions.renew(record.state, lease.step, fence=lease.fence, times=self._times())
        self._carry_out(record, decision)
        return decision.verdict is Verdict.APPLIED

    def _come_due(self, run_id: str, member: str, worker: str) -> DueEntry | None:
        record = self._runs.get(run_id)
        key, _, reference = member.partition("|")
        if record is None or reference:
            del self._due[run_id, member]
        if record is None:
            return None
        if reference and not self._fires(record, key):
            return None
        times = self._times()
        kind, decision = transitions.due(record.state, key, fence=secrets.token_hex(8), times=times)
        if kind is Due.NOTHING:
            self._due.pop((run_id, key), None)
            return None
        self._carry_out(record, decision)
        step = record.state.steps[key]
        if decision.reserved:
            entry = codec.encode_entry(
                kind="rescue", step=key, attempt=step.attempt, reason=RESCUE_REASONS[kind], worker=worker
            )
            record.history.append(_entry(decision.sequence, "", finished_at=times.now, detail=entry))
        return DueEntry(
            kind=kind,
            run_id=run_id,
            name=record.new.name,
            version=record.new.version,
            dispatch=DispatchStep(key, step.attempt, step.dispatch),
            fence=step.fence,
            sequence=decision.sequence if decision.reserved else 0,
        )

    def _fires(self, record: _Record, key: str) -> bool:
        # A timer beside the step's own: kept for a step that does not wait yet, without meaning for one that has ended.
        self._carry_out(record, transitions.fire(record.state, key, times=self._times()))
        step = record.state.steps.get(key)
        return step is not None and step.status is StepStatus.WAITING and step.resume is None

    def _finish(self, record: _Record) -> None:
        run_id = record.new.run_id
        for owner, member in list(self._due):
            if owner == run_id:
                del self._due[owner, member]
        self._active[record.new.instance_id].remove(run_id)
        record.early.clear()
        self._changed.notify_all()

    def _remember(
        self, record: _Record, commit: Complete | Suspend | Retry | Fail, decision: Decision, now: int
    ) -> None:
        step = record.state.steps[commit.step]
        outcome = "discarded"
        if decision.verdict is Verdict.APPLIED:
            outcome = {Complete: "completed", Suspend: "waiting", Retry: "retrying", Fail: "failed"}[type(commit)]
        queued = step.resume.at if step.resume is not None else step.queued_at
        if commit.step != transitions.DONE:
            record.history.append(_entry(decision.sequence, outcome, queued, step.claimed_at, now, detail=commit.entry))
        if isinstance(commit, Complete) and decision.done:
            last = decision.sequence + decision.reserved - 1
            record.history.append(_entry(last - 2, "completed", now, now, now, detail=commit.done_entry))

    def _committed(
        self, record: _Record, before: RunState, commit: Complete | Suspend | Retry | Fail, decision: Decision
    ) -> Commitment:
        dispatches = self._carry_out(record, decision)
        after = decision.state
        resumed = isinstance(commit, Suspend) and bool(dispatches)
        if decision.verdict is Verdict.DISCARDED:
            return Commitment(
                verdict=Verdict.DISCARDED,
                sequence=decision.sequence,
                status_before=before.status,
                status_after=after.status,
            )
        return Commitment(
            verdict=Verdict.APPLIED,
            sequence=decision.sequence,
            status_before=before.status,
            status_after=after.status,
            advance=after.advances,
            active=after.count(StepStatus.ACTIVE),
            activated=decision.activated,
            dispatches=dispatches,
            resumed=resumed,
            completed=_completed(after) if after.status.final else (),
            finished_at=after.finished_at,
            start=record.start if after.status.final else None,
        )

    def _stored(self, record: _Record) -> StoredRun:
        state = record.state
        return StoredRun(
            header=record.new.header,
            initial=record.new.initial,
            status=state.status,
            started_at=record.started_at,
            finished_at=state.finished_at,
            start=record.start,
            steps=dict(state.steps),
            results=dict(record.results),
            metadata=dict(record.metadata),
            configs={key: text for key, (_, text) in record.configs.items()},
            failed_step=state.failed_step,
            failure=record.failure,
            cancel_reason=record.cancel_reason,
            active=state.count(StepStatus.ACTIVE),
            applied=state.applied,
        )


def already_running(run: NewRun, holder: str) -> str:
    """The message of an :class:`AlreadyRunningError`."""
    return (
        f"{run.instance_id} is running already (run {holder}; scope {run.scope!r} of {run.family}); "
        "wait for its end, cancel it, or start another id"
    )


def claimed(state: RunState) -> tuple[DispatchStep, ...]:
    """The steps of a state that workers are executing."""
    return tuple(
        DispatchStep(key, step.attempt, step.dispatch)
        for key, step in state.steps.items()
        if step.fence is not None and step.status is StepStatus.ACTIVE
    )


def _complete(state: RunState, commit: Complete, times: Times) -> Decision:
    return transitions.complete(
        state,
        commit.step,
        fence=commit.fence,
        event=commit.event,
        settlement=commit.settlement,
        attempts=commit.attempts,
        times=times,
        expected=commit.expected,
    )


def _suspend(state: RunState, commit: Suspend, times: Times) -> Decision:
    return transitions.suspend(
        state, commit.step, fence=commit.fence, accepts=commit.accepts, timeout=commit.timeout, times=times
    )


def _completed(state: RunState) -> tuple[str, ...]:
    done = [(step.order or 0, key) for key, step in state.steps.items() if step.status is StepStatus.COMPLETED]
    return tuple(key for _, key in sorted(done))


def _record_data(record: _Record, commit: Complete | Suspend | Retry | Fail, decision: Decision) -> None:
    match commit:
        case Complete():
            _record_result(record, commit)
            if decision.state.status is Status.FAILED:
                record.failure = commit.stuck
        case Suspend():
            for slot in record.state.early.keys() - decision.state.early.keys():
                if slot in record.early:  # a timeout brings no data
                    record.data[commit.step] = record.early.pop(slot)
        case Fail():
            record.failure = commit.failure
        case Retry():
            pass


def _record_result(record: _Record, commit: Complete) -> None:
    if commit.result is not None:
        record.results[commit.step] = commit.result
    if commit.metadata is not None:
        record.metadata[commit.step] = commit.metadata
    record.data.pop(commit.step, None)
    for key, config in commit.configs.items():
        held = record.configs.get(key)
        if held is None or held[0] > commit.rank:
            record.configs[key] = (commit.rank, config)


def _entry(
    sequence: int,
    outcome: str,
    queued_at: int | None = None,
    started_at: int | None = None,
    finished_at: int | None = None,
    *,
    detail: str,
) -> StoredEntry:
    return StoredEntry(
        sequence=sequence,
        outcome=outcome,
        queued_at=queued_at,
        started_at=started_at,
        finished_at=finished_at,
        detail=detail,
    )


def _matches(record: _Record, query: Query) -> bool:
    new = record.new
    return (
        record.state.status in query.statuses
        and query.name in (None, new.name)
        and query.version in (None, new.version)
        and query.family in (None, new.family)
        and query.id in (None, new.instance_id)
        and (query.tag is None or query.tag in new.tags)
        and (query.started_after is None or record.started_at > query.started_after)
        and (query.started_before is None or record.started_at < query.started_before)
    )


def _read_cursor(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    score, _, run_id = cursor.partition(":")
    return int(score), run_id
