"""Instances in the memory of this process: for tests, notebooks and eager applications. Gone when the process is."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance, Clock
from hephaestus_celery.core.execution import due as due_rules
from hephaestus_celery.core.execution import transitions
from hephaestus_celery.core.execution.commands import (
    ClearTimer,
    DispatchStep,
    EnterLane,
    Finish,
    LeaveLane,
    SetTimer,
    last_message,
)
from hephaestus_celery.core.execution.delivery import Delivered, receive
from hephaestus_celery.core.execution.due import Due, rescue_reason
from hephaestus_celery.core.execution.limits import LEFT, STEP
from hephaestus_celery.core.execution.listing import matches
from hephaestus_celery.core.execution.resolve import Candidates, Resolution, RunReference, resolve
from hephaestus_celery.core.execution.state import Decision, RunState, Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.turning_away import sent_again_at
from hephaestus_celery.core.execution.uniqueness import Claimant, find_holder
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.claims import Claim, ClaimRequest, Lease, Refusal, Refused
from hephaestus_celery.storage.commits import Commitment, Complete, Fail, Retry, Suspend
from hephaestus_celery.storage.due import DueEntry, Outstanding, RescuedRun, Sent, Tick
from hephaestus_celery.storage.entries import encode_entry
from hephaestus_celery.storage.interventions import Cancellation, Delivery, DeliveryReport, RunAddress
from hephaestus_celery.storage.memory.lanes import Lanes, Member
from hephaestus_celery.storage.memory.record import (
    Record,
    brief,
    claimant,
    completed,
    decide,
    entry_of,
    read_cursor,
    record_data,
    remember,
    stored,
    summary,
)
from hephaestus_celery.storage.port import Durations, Storage
from hephaestus_celery.storage.queries import DataKind, Query, StoredEntry, StoredRun
from hephaestus_celery.storage.schema import SCHEMA
from hephaestus_celery.storage.starts import NewRun, already_running

_NEVER = 1 << 62


class MemoryStorage:
    """The port over plain dictionaries and one lock; the transitions are the pure ones of :mod:`hephaestus_celery.core.execution.transitions`.

    Runs are kept as long as the storage itself. There is no message to lose and no reply, so operations are not
    remembered; what comes due is kept as in Redis.
    """

    name = "memory"
    partitions = 1

    def __init__(
        self,
        *,
        dispatch_timeout: timedelta | None = None,
        lease: timedelta | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Chance = SYSTEM_CHANCE,
    ) -> None:
        self._clock, self._chance = clock, chance
        self._changed = threading.Condition()
        self._runs: dict[str, Record] = {}
        self._order: list[tuple[int, str]] = []
        self._by_id: dict[str, list[str]] = {}
        self._active: dict[str, list[str]] = {}
        self._due: dict[tuple[str, str], int] = {}
        self._known = _NEVER
        self._given = {"dispatch_timeout": dispatch_timeout, "lease": lease}
        self._durations = self._hold(Durations())
        self._adopted = False
        self._reports: dict[str, tuple[int, str]] = {}
        self._ahead, self._offset = self.now() - self._clock.elapsed_ns() // 1000, 0

    @property
    def url(self) -> str | None:
        return None

    def is_one_with(self, other: Storage) -> bool:
        return self is other

    def adopt(self, durations: Durations) -> Durations:
        if not self._adopted:
            self._durations, self._adopted = self._hold(durations), True
        return self._durations

    def _hold(self, durations: Durations) -> Durations:
        held = replace(durations, **{name: value for name, value in self._given.items() if value is not None})
        self._dispatch_timeout = held.dispatch_timeout // timedelta(microseconds=1)
        self._lease = held.lease // timedelta(microseconds=1)
        self._lanes = Lanes(timeout=self._dispatch_timeout)
        return held

    def now(self) -> int:
        return self._clock.time_ns() // 1000

    def _steady(self) -> int:
        return self._moments()[1]

    def _moments(self) -> tuple[int, int]:
        # Now, and now on the clock that timers go by: where the wall clock was set, that one goes on.
        now = self.now()
        ahead = now - self._clock.elapsed_ns() // 1000
        if abs(ahead - self._ahead) > STEP:
            self._offset -= ahead - self._ahead
        self._ahead = ahead
        return now, now + self._offset

    def create(self, run: NewRun) -> Sequence[DispatchStep]:
        with self._changed:
            times = self._times()
            holder = self._holder(run)
            if holder is not None:
                raise already_running(run, holder.run_id, family=holder.family, scope=holder.scope)
            decision = transitions.create(
                initials={first.step: first.max_attempts for first in run.firsts},
                times=times,
                lanes={first.step: first.lane for first in run.firsts if first.lane is not None},
            )
            record = Record(run, decision.state, times.now, str(times.now * 1000))
            for first in run.firsts:
                if first.config is not None:
                    record.configs[first.step] = (0, first.config)
            self._runs[run.run_id] = record
            bisect.insort(self._order, (times.now, run.run_id))
            self._by_id.setdefault(run.instance_id, []).append(run.run_id)
            self._active.setdefault(run.instance_id, []).append(run.run_id)
            return self._carry_out(record, decision)

    def claim(self, request: ClaimRequest) -> Claim | Refusal:
        with self._changed:
            record = self._runs.get(request.run_id)
            if record is None:
                return Refusal(reason=Refused.UNKNOWN_RUN)
            if record.new.name != request.workflow:
                return Refusal(reason=Refused.FOREIGN, detail=record.new.name)
            if record.new.schema > request.schema:
                self._turn_away(record, request)
                return Refusal(reason=Refused.NEWER_SCHEMA, detail=str(record.new.schema))
            if record.new.version not in request.versions:
                self._turn_away(record, request)
                return Refusal(reason=Refused.UNKNOWN_VERSION, detail=f"{record.new.name} version {record.new.version}")
            before = record.state
            decision = transitions.claim(
                before,
                request.activation,
                attempt=request.attempt,
                fence=request.fence,
                launch=request.activation.step == transitions.DONE,
                times=self._times(),
                limit=request.limit,
                holder=request.holder,
                worker=request.worker,
                lane=request.lane,
                token=request.token,
            )
            if decision.verdict is not Verdict.APPLIED:
                return Refusal(reason=Refused(decision.verdict.value))
            self._carry_out(record, decision)
            step = decision.state.steps[str(request.activation)]
            return Claim(
                run=replace(stored(record), sequence=before.sequence),
                first=decision.state.advances > before.advances,
                sequence=decision.sequence,
                queued_at=step.queued_at or 0,
                claimed_at=step.claimed_at or 0,
                waiting_since=step.waiting_since,
                resume=step.resume,
                data=record.data.get(str(request.activation)),
            )

    def commit(self, commit: Complete | Suspend | Retry | Fail) -> Commitment:
        with self._changed:
            record = self._runs.get(commit.run_id)
            if record is None:
                return Commitment(verdict=Verdict.STALE)
            before = record.state
            times = self._times()
            decision = decide(before, commit, times)
            if decision.verdict is Verdict.CONFLICT:
                return Commitment(verdict=Verdict.CONFLICT, run=stored(record))
            if decision.verdict is Verdict.STALE:
                return Commitment(verdict=Verdict.STALE)
            remember(record, commit, decision, times.now)
            if decision.verdict is Verdict.APPLIED:
                record_data(record, commit, decision)
            return self._committed(record, before, commit, decision)

    def settle(self, run_id: str, step: str) -> Commitment:
        """Nothing is ever left: a commit is carried out to its end."""
        del run_id, step
        return Commitment(verdict=Verdict.STALE)

    def renew(self, leases: Sequence[Lease]) -> Sequence[bool]:
        with self._changed:
            return [self._renew(lease) for lease in leases]

    def seize(
        self, run_id: str, step: str, *, attempt: int, holder: str, fence: str, entry: str, timed_out: bool = False
    ) -> DueEntry | None:
        with self._changed:
            record = self._runs.get(run_id)
            held = None if record is None else record.state.steps.get(step)
            if record is None or held is None or held.holder != holder:
                return None
            times = self._times()
            decision = transitions.seize(
                record.state, Activation.parse(step), attempt=attempt, fence=fence, times=times, timed_out=timed_out
            )
            self._carry_out(record, decision)
            if decision.verdict is not Verdict.APPLIED:
                return None
            record.history.append(entry_of(decision.sequence, "", finished_at=times.now, detail=entry))
            kind = Due.TIMED_OUT if timed_out else Due.LEASE_EXPIRED
            return self._entry_about(record, kind, step, decision)

    def schedule(self, run_id: str, step: str, *, reference: str, delay: int) -> bool:
        with self._changed:
            record = self._runs.get(run_id)
            if record is None or record.state.status.final:
                return False
            self._due[run_id, f"{step}|{reference}"] = self._steady() + delay
            self._changed.notify_all()
            return True

    def unschedule(self, run_id: str, step: str, *, reference: str, operation: str) -> bool:
        del operation
        with self._changed:
            return self._due.pop((run_id, f"{step}|{reference}"), None) is not None

    def tick(self, partition: int, *, owner: str, worker: str, seize: bool) -> Tick:
        del partition, owner, seize  # one process, whose threads give no sign of life only when they are gone
        entries: list[DueEntry] = []
        with self._changed:
            now = self._steady()
            for (run_id, member), at in sorted(self._due.items(), key=lambda item: item[1]):
                if at > now:
                    break
                # Asked again: an entry before it may have been about the same step, and have moved it.
                entry = self._come_due(run_id, member, worker) if self._due.get((run_id, member)) == at else None
                if entry is not None:
                    entries.append(entry)
            lanes = self._lanes.look(now, self._awaited)
            self._known = self._soonest()
            left = None if self._known == _NEVER else max(0, self._known - self._steady())
            return Tick(held=True, next_in=left, entries=entries, lanes=lanes)

    def resend(
        self, partition: int, lost: Mapping[Outstanding, str | None], *, lane: str, operation: str, worker: str
    ) -> Sequence[DueEntry]:
        del partition, operation
        with self._changed:
            sent = [self._send_again(message, goes, worker) for message, goes in lost.items()]
            entries = [entry for entry in sent if entry is not None]
            self._lanes.go_on(lane, after=len(entries), now=self._steady())
            return entries

    def redirect(self, sent: Sequence[Sent]) -> None:
        with self._changed:
            for each in sent:
                self._redirect(each)

    def outstanding(self, *lanes: str) -> int:
        with self._changed:
            return sum(map(self._lanes.count, lanes))

    def report(self, worker: str, holdings: str | None, *, lifetime: int) -> None:
        with self._changed:
            self._reports.pop(worker, None)
            if holdings is not None:
                self._reports[worker] = (self._steady() + lifetime, holdings)

    def reports(self) -> Sequence[str]:
        with self._changed:
            return [holdings for ends, holdings in self._reports.values() if ends > self._steady()]

    def resign(self, *, owner: str) -> None:
        """Nobody else would take over."""

    def await_due(self, *, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._soonest() < self._known, timeout)

    def _soonest(self) -> int:
        look = self._lanes.soonest()
        return min(self._due.values(), default=_NEVER) if look is None else min(look, *self._due.values(), _NEVER)

    def separate(self) -> MemoryStorage:
        return self

    def deliver(self, delivery: Delivery) -> DeliveryReport:
        with self._changed:
            found = self._resolve(delivery.run)
            record = None if found.run_id is None else self._runs.get(found.run_id)
            if record is None:
                outcome = Delivered.SEVERAL if found.several else Delivered.UNKNOWN_RUN
                return DeliveryReport(outcome=outcome, active=found.several)
            stored(record)  # raises for one that is newer, which must not be changed
            reception = receive(
                record.state,
                name=delivery.name,
                step=delivery.step,
                keep=delivery.keep,
                key=delivery.key,
                times=self._times(),
            )
            if reception.outcome is Delivered.ACCEPTED:
                record.data[reception.steps[0]] = delivery.data
            elif reception.outcome is Delivered.KEPT:
                record.early[reception.decision.state.kept] = delivery.data
            elif reception.outcome is Delivered.REPEATED:
                return DeliveryReport(outcome=Delivered.REPEATED, run=address(record), status=record.state.status)
            executing = executed_at(record.state, delivery.step)
            return DeliveryReport(
                outcome=reception.outcome,
                run=address(record),
                status=record.state.status,
                steps=reception.steps,
                executing=executing,
                dispatches=self._carry_out(record, reception.decision),
            )

    def cancel(self, run_id: str, *, operation: str, reason: str | None, entry: str) -> Cancellation | None:
        del operation
        with self._changed:
            record = self._runs.get(run_id)
            if record is None:
                raise InstanceNotFoundError(f"no run {run_id}")
            stored(record)  # raises for one that is newer, which must not be changed
            times = self._times()
            decision = transitions.cancel(record.state, times=times)
            if decision.verdict is Verdict.STALE:
                return None
            record.cancel_reason = reason
            record.history.append(entry_of(decision.sequence, "", finished_at=times.now, detail=entry))
            self._carry_out(record, decision)
            return Cancellation(sequence=decision.sequence, run=stored(record))

    def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        del steps  # here nothing is left out
        with self._changed:
            record = self._runs.get(run_id)
            return None if record is None else stored(record)

    def read_initial(self, run_id: str) -> str:
        with self._changed:
            return self._known_run(run_id).new.initial

    def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        with self._changed:
            states = self._known_run(run_id).state.steps
            return dict(states) if steps is None else {step: states[step] for step in steps if step in states}

    def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        with self._changed:
            record = self._known_run(run_id)
            held = {
                DataKind.RESULT: record.results,
                DataKind.METADATA: record.metadata,
                DataKind.CONFIG: {step: text for step, (_, text) in record.configs.items()},
            }[kind]
            return {step: held[step] for step in steps if step in held}

    def candidates(self, instance_id: str, *, family: str | None, version: int | None = None) -> Candidates:
        with self._changed:
            return self._candidates(
                RunReference(id=instance_id, family=family, version=version, exact=version is not None)
            )

    def history(self, run_id: str) -> Sequence[StoredEntry]:
        with self._changed:
            record = self._runs.get(run_id)
            return [] if record is None else list(record.history)

    def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
        with self._changed:
            found: list[tuple[str, RunSummary]] = []
            below = read_cursor(query.cursor)
            for position in reversed(self._order):
                record = self._runs[position[1]]
                if (below is not None and position >= below) or not matches(brief(record), query):
                    continue
                if len(found) == query.limit:
                    last = found[-1]
                    return found, f"{last[1].started_at}:{last[0]}"
                found.append((position[1], summary(record)))
            return found, None

    def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        def finished() -> bool:
            record = self._runs.get(run_id)
            return record is None or record.state.status.final

        with self._changed:
            return self._changed.wait_for(finished, timeout)

    def close(self) -> None:
        """Nothing to let go of: the runs stay readable."""

    def _resolve(self, reference: RunReference) -> Resolution:
        if not is_run_id(reference.id):
            return resolve(reference, self._candidates(reference))
        known = reference.id in self._runs and self._admits(reference, reference.id)
        return Resolution(run_id=reference.id if known else None)

    def _candidates(self, reference: RunReference) -> Candidates:
        known = [run_id for run_id in self._by_id.get(reference.id, ()) if self._admits(reference, run_id)]
        active = [run_id for run_id in self._active.get(reference.id, ()) if self._admits(reference, run_id)]
        return Candidates(
            active=active,
            newest=known[-1] if known else None,
            versions={run_id: self._runs[run_id].new.version for run_id in active},
        )

    def _admits(self, reference: RunReference, run_id: str) -> bool:
        new = self._runs[run_id].new
        return reference.admits(family=new.family, version=new.version)

    def _known_run(self, run_id: str) -> Record:
        record = self._runs.get(run_id)
        if record is None:
            raise InstanceNotFoundError(f"no run {run_id}; it was never started, or its retention is over")
        return record

    def _times(self) -> Times:
        now, steady = self._moments()
        return Times(now=now, dispatch_timeout=self._dispatch_timeout, lease=self._lease, steady=steady)

    def _holder(self, run: NewRun) -> Claimant | None:
        active = (claimant(self._runs[run_id].new) for run_id in self._active.get(run.instance_id, ()))
        return find_holder(claimant(run), active)

    def _carry_out(self, record: Record, decision: Decision) -> tuple[DispatchStep, ...]:
        record.state = decision.state
        dispatches: list[DispatchStep] = []
        for command in decision.commands:
            match command:
                case DispatchStep():
                    dispatches.append(command)
                case SetTimer():
                    self._due[record.new.run_id, str(command.activation)] = command.at
                    self._changed.notify_all()
                case ClearTimer():
                    self._due.pop((record.new.run_id, str(command.activation)), None)
                case EnterLane():
                    self._lanes.enter(command.lane, (record.new.run_id, str(command.activation)), command.at)
                    self._changed.notify_all()
                case LeaveLane():
                    if command.left is not None:
                        self._lanes.leave(command.left, (record.new.run_id, str(command.activation)))
                    self._lanes.move(command.lane, command.at)
                case Finish():
                    self._finish(record)
        return tuple(dispatches)

    def _turn_away(self, record: Record, request: ClaimRequest) -> None:
        step = record.state.find(request.activation)
        if step is None or record.state.status.final:
            return
        member = record.new.run_id, str(request.activation)
        at = sent_again_at(
            step,
            attempt=request.attempt,
            moment=self._steady(),
            dispatch_timeout=self._dispatch_timeout,
            due_at=self._due.get(member),
        )
        if at is not None:
            self._due[member] = at
            self._changed.notify_all()

    def _renew(self, lease: Lease) -> bool:
        record = self._runs.get(lease.run_id)
        if record is None:
            return False
        decision = transitions.renew(record.state, lease.activation, fence=lease.fence, times=self._times())
        self._carry_out(record, decision)
        return decision.verdict is Verdict.APPLIED

    def _come_due(self, run_id: str, member: str, worker: str) -> DueEntry | None:
        record = self._runs.get(run_id)
        key, _, reference = member.partition("|")
        if record is not None and record.new.schema > SCHEMA:
            self._due[run_id, member] = self._steady() + LEFT
            return None
        if record is None or reference:
            del self._due[run_id, member]
        if record is None:
            return None
        if reference and not self._fires(record, key):
            return None
        times = self._times()
        kind, decision = due_rules.due(record.state, Activation.parse(key), fence=self._chance.token(), times=times)
        if kind is Due.NOTHING:
            self._due.pop((run_id, key), None)
            return None
        self._carry_out(record, decision)
        return self._due_entry(record, kind, key, decision, worker)

    def _due_entry(self, record: Record, kind: Due, key: str, decision: Decision, worker: str) -> DueEntry:
        step = record.state.steps[key]
        if decision.reserved:
            entry = encode_entry(
                kind="rescue", step=key, attempt=step.attempt, reason=rescue_reason(kind, step), worker=worker
            )
            record.history.append(entry_of(decision.sequence, "", finished_at=self.now(), detail=entry))
        return self._entry_about(record, kind, key, decision)

    def _entry_about(self, record: Record, kind: Due, key: str, decision: Decision) -> DueEntry:
        step = record.state.steps[key]
        rescued = RescuedRun(
            header=record.new.header,
            status=record.state.status,
            started_at=record.started_at,
            start=record.start,
            step=step,
            at=self.now(),
        )
        return DueEntry(
            kind=kind,
            run_id=record.new.run_id,
            name=record.new.name,
            version=record.new.version,
            dispatch=last_message(Activation.parse(key), step),
            fence=step.fence,
            sequence=decision.sequence if decision.reserved else 0,
            run=rescued if decision.reserved else None,
            message_headers=record.new.message_headers,
        )

    def _awaited(self, member: Member) -> tuple[str, int, StepState] | None:
        record = self._runs.get(member[0])
        step = None if record is None or record.state.status.final else record.state.steps.get(member[1])
        if record is None or step is None or not step.awaits_claim:
            return None
        return record.new.name, record.new.version, step

    def _send_again(self, message: Outstanding, lane: str | None, worker: str) -> DueEntry | None:
        record = self._runs.get(message.run_id)
        if record is None:
            return None
        times, dispatch = self._times(), message.dispatch
        before = record.state.find(dispatch.activation)
        decision = due_rules.resend(
            record.state, dispatch.activation, attempt=dispatch.attempt, token=dispatch.token, times=times, lane=lane
        )
        if decision.verdict is not Verdict.APPLIED:
            return None
        if before is not None and before.lane is not None:
            self._lanes.leave(before.lane, (message.run_id, str(dispatch.activation)))
        self._carry_out(record, decision)
        return self._due_entry(record, Due.REDISPATCH, str(dispatch.activation), decision, worker)

    def _redirect(self, sent: Sent) -> None:
        record = self._runs.get(sent.run_id)
        if record is None:
            return
        key, before = str(sent.dispatch.activation), record.state.steps.get(str(sent.dispatch.activation))
        decision = due_rules.redirect(record.state, sent.dispatch, lane=sent.lane)
        if decision.verdict is Verdict.APPLIED and before is not None and before.lane is not None:
            self._lanes.leave(before.lane, (sent.run_id, key))
        self._carry_out(record, decision)

    def _fires(self, record: Record, key: str) -> bool:
        # A timer beside the step's own: kept for a step that does not wait yet, without meaning for one that has ended.
        self._carry_out(record, due_rules.fire(record.state, Activation(key)))
        step = record.state.steps.get(key)
        return step is not None and step.status is StepStatus.WAITING and step.resume is None

    def _finish(self, record: Record) -> None:
        run_id = record.new.run_id
        for owner, member in list(self._due):
            if owner == run_id:
                del self._due[owner, member]
        self._lanes.leave_all(run_id)
        self._active[record.new.instance_id].remove(run_id)
        record.early.clear()
        self._changed.notify_all()

    def _committed(
        self, record: Record, before: RunState, commit: Complete | Suspend | Retry | Fail, decision: Decision
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
            completed=completed(after) if after.status.final else (),
            finished_at=after.finished_at,
            start=record.start if after.status.final else None,
        )


def executed_at(state: RunState, only: str | None) -> tuple[str, ...]:
    """The keys of the steps that workers are executing, or that one of them."""
    return tuple(key for key in claimed(state) if not state.status.final and only in (None, key))


def claimed(state: RunState) -> tuple[str, ...]:
    """The activations of a state that workers are executing, by their texts."""
    return tuple(
        key for key, step in state.steps.items() if step.fence is not None and step.status is StepStatus.ACTIVE
    )


def address(record: Record) -> RunAddress:
    """What every message about a run needs."""
    new = record.new
    return RunAddress(run_id=new.run_id, name=new.name, version=new.version, message_headers=new.message_headers)
