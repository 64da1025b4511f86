"""Load, decide, commit, tell: written once for all runners.

A runner hands a message in and gets a :class:`HeldAttempt` or a refusal; :meth:`HeldAttempt.emit_start` tells that it began,
:meth:`Driver.execute` runs the step, :meth:`Driver.commit` decides, commits, and gives an :class:`Outcome` with what
is to be told and what is to be sent, and :meth:`Driver.release` lets go of the lease, which is kept from the claim on. Nothing is told before it is committed, and nothing is sent before it was told: that is what makes
the events of one process come in the order of behaviour 4.3.

What goes wrong between a claim and its commit, whatever it is, is a failed attempt, at once and once: the only exception
that comes out of here is ``StorageError``, when the store is away for longer than a lease.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import Target
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due, rescue_reason
from hephaestus_celery.core.execution.settle import Settlement, plan
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.context import check_mapping
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.core.values.retry import DEFAULT_RETRY
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.exceptions import DataError, StepFailedError, StorageError
from hephaestus_celery.runners import events
from hephaestus_celery.runners.attempt import Executed, HeldAttempt, Outcome, Worker
from hephaestus_celery.runners.cancellation import Waited
from hephaestus_celery.runners.contention import Contention
from hephaestus_celery.runners.dispatcher import Dispatcher
from hephaestus_celery.runners.events import Events, EventSource
from hephaestus_celery.runners.failures import Failed, failed, lost, stuck, type_name
from hephaestus_celery.runners.known_steps import LIMIT_MARGIN, limit, limit_of, predecessors_of, versions_with
from hephaestus_celery.runners.leases import LeaseKeeper
from hephaestus_celery.runners.messages import Message, messages
from hephaestus_celery.runners.patient_reader import PatientReader
from hephaestus_celery.runners.step_result import Completed, StepResult, Waiting, call
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.claims import Claim, ClaimRequest, Lease, Refusal, Refused
from hephaestus_celery.storage.commits import Commitment, Complete, Fail, Retry, Suspend
from hephaestus_celery.storage.due import DueEntry, Outstanding, RescuedRun
from hephaestus_celery.storage.entries import encode_entry
from hephaestus_celery.storage.instances import decode_context, decode_instance, encode_header, read_headers
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import StoredRun
from hephaestus_celery.storage.starts import FirstStep, NewRun, PreparedMessage

if TYPE_CHECKING:
    from hephaestus_celery.config import Settings
    from hephaestus_celery.core.definition.workflow import Workflow
    from hephaestus_celery.core.values.instance import Instance


logger = logging.getLogger("hephaestus_celery")

NOTICE_SECONDS = 0.5
"""How long an attempt that was interrupted within its time waits for who has done so to tell the store."""


MOST_INTERRUPTIONS = 3
"""Times that one attempt runs again, or one route is asked again, after it was interrupted by what was meant for another:
what interrupts it each time is its own, or comes so often that it could go on for ever."""

MOST_ROWS = 100_000
"""Rows of settlements that a process remembers: 20 to 30 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """What follows from an event of a step, whatever the run: see the fields of these names of ``Complete``."""

    settlement: Settlement
    attempts: Mapping[str, int]
    configs: Mapping[str, str]
    rank: int
    stuck: str
    lanes: Mapping[str, str]


class Driver:
    """Drives runs forward against a storage, for a runner."""

    def __init__(self, *, storage: Storage, settings: Settings, dispatcher: Dispatcher) -> None:
        self.storage = storage
        self.settings = settings
        self.runner = type(dispatcher)
        self._dispatcher = dispatcher
        self._reader = PatientReader(storage, lease=settings.lease)
        self._contention = Contention()
        self._keeper = LeaseKeeper(storage, lease=settings.lease)
        self._moves: WeakKeyDictionary[type[Workflow], dict[tuple[str, str], _Move]] = WeakKeyDictionary()
        self._kept_rows = 0

    def release(self, attempt: HeldAttempt) -> None:
        """Keep the lease of a attempt no longer: its attempt is over, or given up. Again is the same as once."""
        self._keeper.let_go(attempt.lease)

    def close(self) -> None:
        """End the thread that keeps leases."""
        self._keeper.close()

    def create(
        self, workflow: type[Workflow], *, id: str, context: Mapping[str, Any], telemetry: Mapping[str, Any]
    ) -> tuple[str, Sequence[Message]]:
        """Store a new run of a workflow; gives its run id, and the messages for its first steps unless the store sent them."""
        run_id = new_run_id(
            milliseconds=SYSTEM_CLOCK.time_ns() // 1_000_000, instance_id=id, random_bits=secrets.randbits(58)
        )
        initials = workflow.graph.initials
        starts = [DispatchStep(initial.step.key, 1, 1) for initial in initials]
        hints = messages(workflow.name, workflow.version, run_id, starts)
        codec.encode_limited(telemetry, "telemetry_metadata", limit=self.settings.max_payload)
        hints, headers = self._dispatcher.start_messages(hints)
        new = NewRun(
            operation=run_id,
            run_id=run_id,
            instance_id=id,
            name=workflow.name,
            family=workflow.family,
            version=workflow.version,
            scope=workflow.unique.scope,
            tags=sorted(workflow.tags),
            header=encode_header(id=id, run_id=run_id, workflow=workflow, telemetry=telemetry),
            initial=codec.encode_limited(context, "context", limit=self.settings.max_payload),
            firsts=[
                FirstStep(
                    step=initial.step.key,
                    config=self._encoded_config(initial),
                    max_attempts=workflow.retry_policy(initial.step, self.settings.default_retry).max_attempts,
                    prepared_message=self._dispatcher.prepare(hint, parent=None),
                    lane=self._dispatcher.lane(hint),
                )
                for initial, hint in zip(initials, hints, strict=True)
            ],
            message_headers=codec.encode(dict(headers)) if headers else None,
        )
        return run_id, hints if self.storage.create(new) else []

    def claim(
        self,
        workflow: str,
        run_id: str,
        step: str,
        attempt: int,
        *,
        worker: Worker,
        fence: str | None = None,
        lane: str | None = None,
        token: int | None = None,
    ) -> HeldAttempt | Refusal:
        """Claim what a message hints at, which came from ``lane``.

        Who asks again after a ``StorageError`` does so with the same ``fence``: the store may have given the claim
        without its result coming through, and gives that result again. The lease of a attempt is kept from now on, until
        :meth:`release`.
        """
        began = SYSTEM_CLOCK.monotonic_ns()
        versions = versions_with(workflow, step)
        margin = LIMIT_MARGIN if self._dispatcher.ends_attempts else 0
        fence = fence or secrets.token_hex(8)
        request = ClaimRequest(
            run_id=run_id,
            workflow=workflow,
            step=step,
            attempt=attempt,
            fence=fence,
            versions=versions,
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
        lease = Lease(run_id=run_id, step=step, fence=fence)
        self._keeper.keep(lease)
        try:
            source = self._source(claim.run, step, worker)
        except Exception as error:
            logger.exception("[%s] what is stored of the run can't be read; step %s fails", run_id, step)
            self._fail_unread(claim.run, lease, failed(error), worker)
            self._keeper.let_go(lease)
            return Refusal(reason=Refused.UNREADABLE)
        return HeldAttempt(source=source, claim=claim, fence=fence, worker=worker, began=began)

    def _source(self, run: StoredRun, step: str, worker: Worker) -> EventSource:
        instance = decode_instance(run, reader=self._reader)
        return EventSource(
            instance=instance, step=instance.workflow.graph.by_key[step], runner=self.runner, worker=worker.fields
        )

    def decline(self, workflow: str, run_id: str, step: str, attempt: int) -> Claim | Refusal:
        """Turn a message away that this process has no code for; another is sent soon, for a worker that has."""
        fence = secrets.token_hex(8)
        request = ClaimRequest(run_id=run_id, workflow=workflow, step=step, attempt=attempt, fence=fence, versions=())
        return self.storage.claim(request)

    def execute(self, attempt: HeldAttempt) -> Executed:
        """Run the step of a attempt to its end; a delivered event is an result already. Never raises.

        Where it was interrupted by what was meant for another attempt, it is run again: :data:`MOST_INTERRUPTIONS` times.
        """
        for interruptions in count():
            began = SYSTEM_CLOCK.monotonic_ns()
            try:
                result = self._call(attempt, began)
            except BaseException as error:  # noqa: BLE001 - the runner's way to stop a step may strike anywhere
                result = self._failed(attempt, error)
            duration = max(0, SYSTEM_CLOCK.monotonic_ns() - began)
            try:
                again = (
                    isinstance(result, Failed)
                    and interruptions < MOST_INTERRUPTIONS
                    and self._was_for_another(attempt, result.reason)
                )
                if not again:
                    return Executed(result=result, duration=duration)
            except attempt.worker.stop_exceptions:
                pass  # and once more
        raise AssertionError  # there is no end of numbers

    def interrupted(self, attempt: HeldAttempt, error: BaseException, *, earlier: int) -> Executed | None:
        """What an interruption beside the body of a attempt's step makes of it; None: nothing, it was meant for another attempt.

        ``earlier`` is how often that was so before.
        """
        if earlier < MOST_INTERRUPTIONS and self._was_for_another(attempt, error):
            return None
        return Executed(result=self._failed(attempt, error), duration=0)

    def _call(self, attempt: HeldAttempt, began: int) -> StepResult:
        if attempt.claim.resume is not None:
            return Completed(event=attempt.claim.resume.event, result=_non_empty(attempt.claim.data), metadata=None)
        if attempt.launches_done:
            return Completed(event="done", result=None, metadata=None)
        source, worker = attempt.source, attempt.worker
        context = source.instance.context.apart(_cancelled=Waited(self.storage, attempt.lease).is_over)
        result = call(
            source.step,
            source.instance.apart(
                context=context
            ),  # whatever the step does to it, what is told and decided is of the run
            attempt.config,
            limit=self.settings.max_payload,
            seconds_left=limit(source.step),
            stop_exceptions=worker.stop_exceptions,
            reserved_exceptions=worker.reserved_exceptions,
        )
        return self._in_time(attempt, result, attempt.began if self._dispatcher.ends_attempts else began)

    def _was_for_another(self, attempt: HeldAttempt, error: object) -> bool:
        # An interruption that was meant for another attempt, which this process had before: this one is within its time,
        # and still waited for. Whoever revokes its task says so to the store a moment later.
        if not attempt.worker.was_interrupted_early(error, seconds=(SYSTEM_CLOCK.monotonic_ns() - attempt.began) / 1e9):
            return False
        deadline = SYSTEM_CLOCK.monotonic_ns() + int(self.settings.lease.total_seconds() * 1e9)
        waited = Waited(self.storage, attempt.lease)
        for pause in (0.0, NOTICE_SECONDS):
            SYSTEM_CLOCK.sleep(pause)
            while True:
                try:
                    if not waited.ask():
                        return False
                    break
                except StorageError:
                    if SYSTEM_CLOCK.monotonic_ns() > deadline:
                        return False
                    SYSTEM_CLOCK.sleep(0.2)
        logger.warning(
            "[%s] step %s was interrupted by what was meant for another attempt, and runs again",
            attempt.source.instance.id,
            attempt.source.step.key,
        )
        return True

    def _in_time(self, attempt: HeldAttempt, result: StepResult, since: int) -> StepResult:
        # Whatever a step made of being told to stop, or did in a thread that can't be told: it took too long.
        if _is_exit(result) or not _is_over(attempt.source.step, SYSTEM_CLOCK.monotonic_ns() - since):
            return result
        return lost(f"step {attempt.source.step.key}: time limit exceeded")

    def _failed(self, attempt: HeldAttempt, error: BaseException) -> Failed:
        return failed(
            error,
            stop_exceptions=attempt.worker.stop_exceptions,
            reserved_exceptions=attempt.worker.reserved_exceptions,
        )

    def commit(self, attempt: HeldAttempt, executed: Executed) -> Outcome:
        """Decide what follows from an result and commit it, whole or not at all; what can't be committed has failed.

        What was executed is not given up while the store is out of reach: the commit is tried again (it is the same
        operation) until the lease is spent; then ``StorageError``. What the store refuses for its own sake has failed. A
        failure that can't be committed either, in however few words, is raised: then the lease ends the attempt.
        """
        deadline = SYSTEM_CLOCK.monotonic_ns() + int(self.settings.lease.total_seconds() * 1e9)
        result = executed.result
        reduced = 0
        while True:
            try:
                return self._commit(attempt, result, executed.duration)
            except StorageError as error:
                if not error.transient and not isinstance(result, Failed):
                    result = _reduced(result, self._failed(attempt, error))
                elif not error.transient or SYSTEM_CLOCK.monotonic_ns() > deadline:
                    raise
                else:
                    SYSTEM_CLOCK.sleep(0.2)
            except attempt.worker.stop_exceptions:
                continue  # it struck after the step had ended; the same commit again gives its first result
            except Exception as error:  # a config, a policy, a value: none of it may go on for ever
                reduced += 1
                if reduced > _MOST_REDUCTIONS:
                    raise
                result = _reduced(result, self._failed(attempt, error))

    def _commit(self, attempt: HeldAttempt, result: StepResult, duration: int) -> Outcome:
        match result:
            case Completed():
                return self._complete(attempt, result, duration)
            case Waiting():
                return self._suspend(attempt, result, duration)
            case Failed():
                return self._fail(attempt, result, duration)

    def _complete(self, attempt: HeldAttempt, result: Completed, duration: int) -> Outcome:
        workflow, run_id = attempt.source.instance.workflow, attempt.source.instance.run_id
        route = (attempt.source.step, result.event)
        if route not in workflow.graph.dynamic or not self._contention.is_likely(workflow, route):
            return self._complete_from(attempt, result, duration, attempt.claim.run)
        with self._contention.turn(run_id):  # what the claim has brought is old by then
            run = self._reader.load(run_id, steps=[attempt.source.step.key])
            return self._complete_from(attempt, result, duration, run or attempt.claim.run)

    def _complete_from(self, attempt: HeldAttempt, result: Completed, duration: int, run: StoredRun) -> Outcome:
        source, ticked = attempt.source, SYSTEM_CLOCK.monotonic_ns()
        decision = self._decided(attempt, result, run, {})
        if isinstance(decision, Failed):
            return self._fail(attempt, decision, duration)
        if decision.expected is None:
            commitment = self.storage.commit(decision)
        else:
            with self._contention.turn(source.instance.run_id):
                commitment = self._commit_decided(attempt, result, decision)
            if isinstance(commitment, Failed):
                return self._fail(attempt, commitment, duration)
        tick = max(0, SYSTEM_CLOCK.monotonic_ns() - ticked)
        return _outcome(
            attempt,
            commitment,
            label=result.event,
            describe=lambda: events.completed(source, attempt.claim, result, commitment, duration=duration, tick=tick),
        )

    def _commit_decided(self, attempt: HeldAttempt, result: Completed, decision: Complete) -> Commitment | Failed:
        # A conflict means that another step has completed meanwhile: there are no more of them than steps.
        read: dict[str, str] = {}
        refusals = 0
        while True:
            commitment = self.storage.commit(decision)
            if commitment.verdict is not Verdict.CONFLICT or commitment.run is None:
                return commitment
            self._contention.note_refusal(attempt.source.instance.workflow)
            began = SYSTEM_CLOCK.monotonic_ns()
            again = self._decided(attempt, result, commitment.run, read)
            if isinstance(again, Failed):
                return again
            decision = again
            commitment = self.storage.commit(decision)
            if commitment.verdict is not Verdict.CONFLICT:
                return commitment
            # Then that commit again: refused, it brings what the run has come to while this one rested.
            refusals += 1
            self._contention.rest(refusals=refusals, nanoseconds=SYSTEM_CLOCK.monotonic_ns() - began)

    def _decided(
        self, attempt: HeldAttempt, result: Completed, run: StoredRun, read: dict[str, str]
    ) -> Complete | Failed:
        # What an result leads to, as the run stands. ``read`` are results that were read for this before.
        interruptions = 0
        while True:
            try:
                targets, settled = self._targets(attempt, result, run, read)
            except BaseException as error:  # noqa: BLE001 - a route is the user's code; its failure is the step's
                if interruptions < MOST_INTERRUPTIONS and self._was_for_another(attempt, error):
                    interruptions += 1
                    continue
                return self._failed(attempt, error)
            workflow, route = attempt.source.instance.workflow, (attempt.source.step, result.event)
            if route in workflow.graph.dynamic:
                late = self._in_time(attempt, result, attempt.began)
                if isinstance(late, Failed):
                    return late
                if settled:
                    self._contention.note_calm(workflow, route)
            return self._completion(attempt, result, targets, expected=None if settled else run.applied)

    def _targets(
        self, attempt: HeldAttempt, result: Completed, run: StoredRun, read: dict[str, str]
    ) -> tuple[tuple[Target, ...], bool]:
        # Where the event leads to, and whether that is so whatever else of the run completes meanwhile: a declared
        # transition, or a route that has looked at nothing but what was given and what can't change any more.
        workflow, step = attempt.source.instance.workflow, attempt.source.step
        if attempt.launches_done:
            return (), True
        if (step, result.event) not in workflow.graph.dynamic:
            return workflow.targets(step, result.event, attempt.source.instance.context), True
        run_id, given = attempt.source.instance.run_id, (step.key, result.result)
        context = decode_context(run, run_id=run_id, reader=self._reader, given=given, read=read)
        found: Callable[[str], dict[str, Any]] = context.__dict__["_result"]
        missed: list[str] = []

        def find(key: str) -> dict[str, Any]:
            try:
                return found(key)
            except KeyError:
                missed.append(key)
                raise

        context = context.apart(_result=find)
        targets = workflow.targets(step, result.event, context)
        return targets, "steps" not in context.__dict__ and not missed

    def _completion(
        self, attempt: HeldAttempt, result: Completed, targets: tuple[Target, ...], *, expected: int | None
    ) -> Complete:
        workflow, step = attempt.source.instance.workflow, attempt.source.step
        computed = (step, result.event) in workflow.graph.dynamic
        move = (
            self._move(workflow, step, targets) if computed else self._known_move(workflow, step, result.event, targets)
        )
        source = attempt.claim.resume and attempt.claim.resume.source
        kind = {None: "attempt", "external": "resume", "timeout": "timer"}[source]
        return Complete(
            operation=f"{attempt.fence}c",
            run_id=attempt.source.instance.run_id,
            step=step.key,
            fence=attempt.fence,
            entry=self._entry(attempt, kind=kind, event=result.event),
            event=result.event,
            result=result.result,
            metadata=result.metadata,
            settlement=move.settlement,
            attempts=move.attempts,
            configs=move.configs,
            rank=move.rank,
            done_entry=_done_entry(attempt) if Done.key in (step.key, *move.settlement.rows) else "",
            stuck=move.stuck,
            prepared=self._prepared(attempt, targets),
            lanes=move.lanes
            if self._dispatcher.lanes_are_fixed
            else self._lanes(workflow, attempt.source.instance.run_id, move.attempts),
            expected=expected,
        )

    def _known_move(self, workflow: type[Workflow], step: type[Step], event: str, targets: tuple[Target, ...]) -> _Move:
        # What a declared transition leads to is the same every time.
        known = self._moves.setdefault(workflow, {})
        move = known.get((step.key, event))
        if move is None:
            move = self._move(workflow, step, targets)
            if self._kept_rows + len(move.settlement.rows) > MOST_ROWS:
                self._moves.clear()
                self._kept_rows = 0
                known = self._moves.setdefault(workflow, {})
            known[step.key, event] = move
            self._kept_rows += len(move.settlement.rows)
        return move

    def _move(self, workflow: type[Workflow], step: type[Step], targets: tuple[Target, ...]) -> _Move:
        settlement = plan(workflow.graph, step, targets)
        default = self.settings.default_retry
        configs = {target.step.key: self._encoded_config(target) for target in targets}
        return _Move(
            settlement=settlement,
            attempts={
                key: workflow.retry_policy(workflow.graph.by_key[key], default).max_attempts for key in settlement.rows
            },
            configs={key: config for key, config in configs.items() if config is not None},
            rank=workflow.graph.rank(step.key),
            stuck="" if settlement.starts_one else codec.encode(stuck(step.key).failure),
            lanes=self._lanes(workflow, "", settlement.rows) if self._dispatcher.lanes_are_fixed else {},
        )

    def _prepared(self, attempt: HeldAttempt, targets: tuple[Target, ...]) -> dict[str, PreparedMessage]:
        instance = attempt.source.instance
        starts = [DispatchStep(target.step.key, 1, 1) for target in targets if target.step is not Done]
        hints = _messages(instance, starts)
        prepared = {hint.step: self._dispatcher.prepare(hint, parent=attempt.worker.task_id) for hint in hints}
        return {key: prepared_message for key, prepared_message in prepared.items() if prepared_message is not None}

    def _suspend(self, attempt: HeldAttempt, result: Waiting, duration: int) -> Outcome:
        step = attempt.source.step
        accepts = step.resume_events(attempt.config())
        commitment = self.storage.commit(
            Suspend(
                operation=f"{attempt.fence}c",
                run_id=attempt.source.instance.run_id,
                step=step.key,
                fence=attempt.fence,
                entry=self._entry(attempt, kind="attempt"),
                accepts=accepts,
                timeout=result.timeout,
            )
        )
        return _outcome(
            attempt,
            commitment,
            label="waiting",
            describe=lambda: events.suspended(attempt.source, attempt.claim, commitment, duration=duration),
        )

    def _lanes(self, workflow: type[Workflow], run_id: str, keys: Iterable[str]) -> dict[str, str]:
        # Where the messages of all steps go that may be started.
        starts = [DispatchStep(key, 1, 1) for key in keys if key != Done.key]
        hints = messages(workflow.name, workflow.version, run_id, starts)
        lanes = {hint.step: self._dispatcher.lane(hint) for hint in hints}
        return {key: lane for key, lane in lanes.items() if lane is not None}

    def lane_of(self, message: Outstanding) -> str | None:
        """Where a message goes that takes the place of a lost one."""
        return self._dispatcher.lane(messages(message.name, message.version, message.run_id, [message.dispatch])[0])

    def due_message(self, entry: DueEntry) -> Message:
        """The message for a step whose time has come."""
        headers = read_headers(entry.message_headers)
        return messages(entry.name, entry.version, entry.run_id, [entry.dispatch], headers=headers)[0]

    def rescue(self, entry: DueEntry, *, worker: Worker) -> Outcome:
        """Tell a rescue that the store has recorded, and fail the attempt where one was lost."""
        if entry.kind is Due.SETTLE:
            return self._settle(entry, worker)
        lost = entry.kind in (Due.LEASE_EXPIRED, Due.TIMED_OUT)
        if entry.run is not None and not lost:
            return self._rescued_message(entry, entry.run, worker=worker)
        return self._rescued(
            entry.run_id,
            entry.dispatch.step,
            fence=entry.fence if lost else None,
            number=entry.sequence,
            reason=partial(rescue_reason, entry.kind),
            worker=worker,
        )

    def _settle(self, entry: DueEntry, worker: Worker) -> Outcome:
        # Go on with what follows a step, or with the start of a run, where whoever did so is gone.
        source = entry.dispatch.step
        commitment = self.storage.settle(entry.run_id, source)
        headers = read_headers(entry.message_headers)
        sent = messages(entry.name, entry.version, entry.run_id, commitment.dispatches, headers=headers)
        followed: Events = ()
        if commitment.ending is not None:
            run = self.storage.load(entry.run_id, steps=[source])
            if run is not None:
                followed = events.ended(self._source(run, source, worker), commitment)
        return Outcome(label="settled", events=followed, messages=sent)

    def _rescued_message(self, entry: DueEntry, rescued: RescuedRun, *, worker: Worker) -> Outcome:
        # What the store has given is enough to tell it: the run may be large, and a backlog of such.
        step = entry.dispatch.step
        run = StoredRun(
            header=rescued.header,
            initial=None,
            status=rescued.status,
            started_at=rescued.started_at,
            start=rescued.start,
            sequence=entry.sequence,
            steps={step: rescued.step},
            lacks_data=True,
            lacks_steps=True,
        )
        instance = decode_instance(run, reader=self.storage)
        step_class = None if instance.definition is None else instance.definition.graph.by_key.get(step)
        if step_class is None:
            return Outcome(label="unknown")
        source = EventSource(instance=instance, step=step_class, runner=self.runner, worker=worker.fields)
        reason = rescue_reason(entry.kind, rescued.step)
        rescue = events.rescued(source, entry.sequence, attempt=entry.dispatch.attempt, reason=reason)
        return Outcome(label="rescued", events=rescue)

    def fail_lost(
        self, run_id: str, step: str, attempt: int, *, reason: str, worker: Worker, timed_out: bool = False
    ) -> Outcome | None:
        """Fail an attempt whose task has ended without a commit; None when that task does not hold it (any more).

        None also where it was applying an event: what follows from that is the scheduler's, which looks at it soon. ``timed_out``:
        it was ended at its time limit.
        """
        fence = secrets.token_hex(8)
        entry = encode_entry(kind="rescue", step=step, attempt=attempt, reason=reason, worker=worker.hostname)
        number = self.storage.seize(
            run_id, step, attempt=attempt, holder=worker.task_id or "", fence=fence, entry=entry, timed_out=timed_out
        )
        if number is None:
            return None
        return self._rescued(run_id, step, fence=fence, number=number, reason=lambda _: reason, worker=worker)

    def fail(self, attempt: HeldAttempt, *, reason: str | BaseException) -> Outcome:
        """Fail a claimed attempt without executing it, and let go of its lease."""
        result = (
            lost(f"step {attempt.source.step.key}: {reason}")
            if isinstance(reason, str)
            else self._failed(attempt, reason)
        )
        try:
            return self._commit(attempt, result, 0)
        finally:
            self.release(attempt)

    def _rescued(
        self,
        run_id: str,
        step: str,
        *,
        fence: str | None,
        number: int,
        reason: Callable[[StepState], str],
        worker: Worker,
    ) -> Outcome:
        run = self.storage.load(run_id, steps=[step])
        if run is None:
            return Outcome(label="gone")
        instance = decode_instance(run, reader=self.storage)
        state = run.steps[step]
        why = reason(state)
        step_class = None if instance.definition is None else instance.definition.graph.by_key.get(step)
        if step_class is None:
            return self._rescued_unknown(run, run_id, step, fence=fence, reason=why, worker=worker)
        source = EventSource(instance=instance, step=step_class, runner=self.runner, worker=worker.fields)
        rescue = events.rescued(source, number, attempt=state.attempt, reason=why)
        if fence is None:
            return Outcome(label="rescued", events=rescue)
        claim = Claim(
            run=run,
            first=False,
            sequence=0,
            queued_at=state.queued_at or 0,
            claimed_at=state.claimed_at or 0,
            resume=state.resume,
        )
        attempt = HeldAttempt(source=source, claim=claim, fence=fence, worker=worker, began=SYSTEM_CLOCK.monotonic_ns())
        duration = max(0, self.storage.now() - claim.claimed_at) * 1000
        outcome = self._fail(attempt, lost(f"step {step}: {why}{_of_event(state)}"), duration)
        return replace(outcome, events=[*rescue, *outcome.events])

    def _rescued_unknown(
        self, run: StoredRun, run_id: str, step: str, *, fence: str | None, reason: str, worker: Worker
    ) -> Outcome:
        # The workflow is another deployment's: its attempt is failed all the same, by the application's own policy;
        # only the history tells of it, since there is no class to name.
        if fence is None:
            return Outcome(label="unknown")
        account = f"step {step}: {reason}{_of_event(run.steps[step])}"
        self._fail_unread(run, Lease(run_id=run_id, step=step, fence=fence), lost(account), worker)
        return Outcome(label="unknown")

    def _fail_unread(self, run: StoredRun, lease: Lease, result: Failed, worker: Worker) -> None:
        # Fail an attempt of a run whose workflow is another deployment's, or of which no instance can be made.
        state = run.steps[lease.step]
        entry = encode_entry(
            kind="attempt",
            step=lease.step,
            attempt=state.attempt,
            reason=result.account,
            worker=state.worker or worker.hostname,
        )
        common = {
            "operation": f"{lease.fence}f",
            "run_id": lease.run_id,
            "step": lease.step,
            "fence": lease.fence,
            "entry": entry,
        }
        if result.retry and state.attempt < state.max_attempts:
            delay = self.settings.default_retry.delay(state.attempt, chance=secrets.SystemRandom().random())
            self.storage.commit(Retry(**common, delay=int(delay * 1e6)))
        else:
            self.storage.commit(Fail(**common, failure=codec.encode(result.failure)))

    def _fail(self, attempt: HeldAttempt, result: Failed, duration: int) -> Outcome:
        state = attempt.claim.run.steps[attempt.source.step.key]
        if result.retry and state.attempt < state.max_attempts:
            return self._retry(attempt, result, duration)
        commitment = self.storage.commit(
            Fail(
                operation=f"{attempt.fence}f",
                run_id=attempt.source.instance.run_id,
                step=attempt.source.step.key,
                fence=attempt.fence,
                entry=self._entry(attempt, kind="attempt", reason=result.account),
                failure=codec.encode(result.failure),
            )
        )
        return _outcome(
            attempt,
            commitment,
            label="failed",
            describe=lambda: events.failed(attempt.source, attempt.claim, result, commitment, duration=duration),
            error=result.error,
        )

    def _retry(self, attempt: HeldAttempt, result: Failed, duration: int) -> Outcome:
        source = attempt.source
        delay = self._delay(source, attempt.claim.run.steps[source.step.key].attempt)
        commitment = self.storage.commit(
            Retry(
                operation=f"{attempt.fence}f",
                run_id=source.instance.run_id,
                step=source.step.key,
                fence=attempt.fence,
                entry=self._entry(attempt, kind="attempt", reason=result.account),
                delay=int(delay * 1e6),
            )
        )
        return _outcome(
            attempt,
            commitment,
            label="retrying",
            describe=lambda: events.failed(
                source, attempt.claim, result, commitment, duration=duration, retry_in=delay
            ),
            error=result.error,
            retry_in=delay if commitment.verdict is Verdict.APPLIED else None,
        )

    def _delay(self, source: EventSource, attempt: int) -> float:
        chance = secrets.SystemRandom().random()
        try:
            policy = source.instance.workflow.retry_policy(source.step, self.settings.default_retry)
            return min(float(policy.delay(attempt, chance=chance)), _LONGEST_REST)
        except Exception:
            # A policy of the application's own. An attempt that can't be retried by it is retried by the default.
            logger.exception("the retry policy of step %s failed; the default stands in", source.step.key)
            return DEFAULT_RETRY.delay(attempt, chance=chance)

    def _entry(self, attempt: HeldAttempt, *, kind: str, event: str | None = None, reason: str | None = None) -> str:
        step = attempt.source.step.key
        return encode_entry(
            kind=kind,
            step=step,
            attempt=attempt.claim.run.steps[step].attempt,
            event=event,
            reason=reason,
            # Who lost it, where this is told by whoever noticed; its task is not known any more.
            worker=attempt.claim.run.steps[step].worker or attempt.worker.hostname,
            task_id=attempt.worker.task_id,
            run_id=attempt.source.instance.run_id,
        )

    def _encoded_config(self, target: Target) -> str | None:
        if target.config is None:
            return None
        config = check_mapping(target.step.plain_config(target.config), f"{target.step.key}: config")
        return codec.encode_limited(config, f"{target.step.key}: config", limit=self.settings.max_payload)


_MOST_REDUCTIONS = 2  # times that a result is made smaller: into the failure that it is, then into a plain one
_LONGEST_REST = 1e9  # seconds; a date that is further away has no name


def _of_event(state: StepState) -> str:
    return "" if state.resume is None else f" (event {shown(state.resume.event)})"


def _done_entry(attempt: HeldAttempt) -> str:
    return encode_entry(
        kind="attempt",
        step=Done.key,
        attempt=1,
        event="done",
        worker=attempt.worker.hostname,
        task_id=attempt.worker.task_id,
        run_id=attempt.source.instance.run_id,
    )


def _outcome(
    attempt: HeldAttempt,
    commitment: Commitment,
    *,
    label: str,
    describe: Callable[[], Events],
    error: Exception | None = None,
    retry_in: float | None = None,
) -> Outcome:
    # It is committed. What goes wrong now costs what is told, or the time until the store has a message sent again.
    instance = attempt.source.instance
    followed: Events = ()
    sent: list[Message] = []
    if commitment.verdict is Verdict.STALE:
        logger.warning(
            "[%s] step %s: what attempt %d came to is not stored; it is not this worker's any more (its lease has run out, or "
            "its time limit), or the run is gone (pruned, or lost with its server's data)",
            instance.id,
            attempt.source.step.key,
            attempt.claim.run.steps[attempt.source.step.key].attempt,
        )
    try:
        followed = describe()
        sent = _messages(instance, commitment.dispatches)
    except Exception:
        logger.exception("[%s] what step %s has committed can't be emitted", instance.id, attempt.source.step.key)
    return Outcome(label=label, events=followed, messages=sent, error=error, retry_in=retry_in)


def _reduced(result: StepResult, cause: Failed) -> Failed:
    # A result that can't be committed has failed for that reason; a failure that can't be committed loses its details.
    if not isinstance(result, Failed):
        # A config that can't be carried: like an result that breaks the contract, no further attempt mends it.
        return replace(cause, retry=cause.retry and not isinstance(cause.error, DataError))
    plain = StepFailedError(f"a {type_name(result.reason)} that can't be stored ({type_name(cause.reason)})")
    return Failed(kind=result.kind, reason=plain, error=plain, retry=result.retry, stacktrace=None, text=None)


def _is_exit(result: StepResult) -> bool:
    return isinstance(result, Failed) and result.kind == "exit"


def _is_over(step: type[Step], elapsed: int) -> bool:
    allowed = limit(step)
    return allowed is not None and elapsed > allowed * 1e9


def _non_empty(text: str | None) -> str | None:
    return None if text in (None, "{}") else text


def _messages(instance: Instance, dispatches: Sequence[DispatchStep]) -> list[Message]:
    return messages(
        instance.workflow_name,
        instance.workflow_version,
        instance.run_id,
        dispatches,
        headers=instance.message_headers,
    )
