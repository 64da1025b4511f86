"""Load, decide, commit, tell: written once for all runners.

A runner hands a message in and gets a :class:`Job` or a refusal; :meth:`Job.announce` tells that it began,
:meth:`Driver.execute` runs the step, and :meth:`Driver.commit` decides, commits, and gives an :class:`Outcome` with what
is to be told and what is to be sent. Nothing is told before it is committed, and nothing is sent before it was told: that is what makes
the events of one process come in the order of behaviour 4.3.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from hephaestus_celery import clock
from hephaestus_celery.core.builtin import Done
from hephaestus_celery.core.commands import DispatchStep
from hephaestus_celery.core.context import EMPTY, Context, check_mapping
from hephaestus_celery.core.engine import Settlement, plan
from hephaestus_celery.core.graph import Target
from hephaestus_celery.core.identity import new_run_id
from hephaestus_celery.core.run import Due, Verdict
from hephaestus_celery.core.step import Step
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners import stories
from hephaestus_celery.runners.answers import Answer, Completed, Failed, Suspended, call, failed, lost, stuck
from hephaestus_celery.runners.base import Message, Runner
from hephaestus_celery.runners.jobs import Executed, Job, Outcome, Worker
from hephaestus_celery.runners.keeper import LeaseKeeper
from hephaestus_celery.runners.messages import LIMIT_MARGIN, limit, limit_of, messages, past_of, versions_with
from hephaestus_celery.runners.stories import Scene
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.base import (
    RESCUE_REASONS,
    Claim,
    ClaimRequest,
    Commitment,
    Complete,
    DueEntry,
    Fail,
    Lease,
    NewRun,
    Parcel,
    Refusal,
    Retry,
    Storage,
    StoredRun,
    Suspend,
)

if TYPE_CHECKING:
    from hephaestus_celery.config import Settings
    from hephaestus_celery.core.workflow import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """What follows from an event of a step, whatever the run: see the fields of these names of ``Complete``."""

    settlement: Settlement
    attempts: Mapping[str, int]
    configs: Mapping[str, str]
    rank: int
    stuck: str


class Driver:
    """Drives runs forward against a storage, for a runner."""

    def __init__(self, *, storage: Storage, settings: Settings, runner: Runner) -> None:
        self.storage = storage
        self.settings = settings
        self.runner = type(runner)
        self._executor = runner
        self._keeper = LeaseKeeper(storage, lease=settings.lease)
        self._moves: WeakKeyDictionary[type[Workflow], dict[tuple[str, str], _Move]] = WeakKeyDictionary()

    def hold(self, job: Job) -> AbstractContextManager[None]:
        """Keep the lease of a job while the block runs, however long it takes."""
        return self._keeper.hold(Lease(run_id=job.scene.instance.run_id, step=job.scene.step.key, fence=job.fence))

    def close(self) -> None:
        """End the thread that keeps leases."""
        self._keeper.close()

    def create(
        self, workflow: type[Workflow], *, id: str, context: Mapping[str, Any], telemetry: Mapping[str, Any]
    ) -> tuple[str, Sequence[Message]]:
        """Store a new run of a workflow; gives its run id, and the message for its first step unless the store sent it."""
        run_id = new_run_id(
            milliseconds=clock.system_time_ns() // 1_000_000, instance_id=id, random_bits=secrets.randbits(58)
        )
        initial = workflow.graph.initial
        message = messages(workflow.name, workflow.version, run_id, [DispatchStep(initial.step.key, 1, 1)])[0]
        new = NewRun(
            operation=run_id,
            run_id=run_id,
            instance_id=id,
            name=workflow.name,
            family=workflow.family,
            version=workflow.version,
            scope=workflow.unique.scope,
            tags=sorted(workflow.tags),
            header=codec.encode_header(id=id, run_id=run_id, workflow=workflow, telemetry=telemetry),
            initial=codec.encode_limited(context, "context", limit=self.settings.max_payload),
            step=initial.step.key,
            config=self._encoded_config(initial),
            max_attempts=workflow.retry_policy(initial.step, self.settings.default_retry).max_attempts,
            parcel=self._executor.seal(message, parent=None),
        )
        return run_id, [] if self.storage.create(new) is None else [message]

    def claim(
        self, workflow: str, run_id: str, step: str, attempt: int, *, worker: Worker, fence: str | None = None
    ) -> Job | Refusal:
        """Claim what a message hints at.

        Who asks again after a ``StorageError`` does so with the same ``fence``: the store may have given the claim
        without its answer coming through, and gives that answer again.
        """
        began = clock.monotonic_ns()
        versions = versions_with(workflow, step)
        margin = LIMIT_MARGIN if self._executor.ends_attempts else 0
        fence = fence or secrets.token_hex(8)
        request = ClaimRequest(
            run_id=run_id,
            step=step,
            attempt=attempt,
            fence=fence,
            versions=versions,
            ancestors=past_of(workflow, versions, step),
            limit=limit_of(workflow, versions, step, margin=margin),
            holder=worker.task_id,
            worker=worker.hostname,
        )
        claim = self.storage.claim(request)
        if isinstance(claim, Refusal):
            return claim
        instance = codec.decode_instance(claim.run)
        step_class = instance.workflow.graph.by_key[step]
        scene = Scene(instance=instance, step=step_class, runner=self.runner, worker=worker.fields)
        config = instance.configs.get(step)
        return Job(
            scene=scene,
            claim=claim,
            fence=fence,
            worker=worker,
            config=None if config is None else step_class.restored_config(config),
            began=began,
        )

    def decline(self, run_id: str, step: str, attempt: int) -> Claim | Refusal:
        """Turn a message away that this process has no code for; another is sent soon, for a worker that has."""
        request = ClaimRequest(run_id=run_id, step=step, attempt=attempt, fence=secrets.token_hex(8), versions=())
        return self.storage.claim(request)

    def execute(self, job: Job) -> Executed:
        """Run the step of a job to its end; a delivered event is an answer already."""
        began = clock.monotonic_ns()
        scene = job.scene
        answer: Answer
        if job.claim.resume is not None:
            answer = Completed(event=job.claim.resume.event, result=_non_empty(job.claim.data), metadata=None)
        elif job.launches_done:
            answer = Completed(event="done", result=None, metadata=None)
        else:
            answer = call(
                scene.step, scene.instance, job.config, limit=self.settings.max_payload, exits=job.worker.exits
            )
            # Whatever a step made of being told to stop, or did in a thread that can't be told: it took too long.
            since = job.began if self._executor.ends_attempts else began
            if not _is_exit(answer) and _is_over(scene.step, clock.monotonic_ns() - since):
                answer = lost(f"step {scene.step.key}: its time limit is over")
        return Executed(answer=answer, duration=max(0, clock.monotonic_ns() - began))

    def commit(self, job: Job, executed: Executed) -> Outcome:
        """Decide what follows from an answer and commit it, whole or not at all.

        What was executed is not given up while the store is out of reach: the commit is tried again (it is the same
        operation) until the lease is spent; then ``StorageError``.
        """
        deadline = clock.monotonic_ns() + int(self.settings.lease.total_seconds() * 1e9)
        while True:
            try:
                return self._commit(job, executed)
            except StorageError:
                if clock.monotonic_ns() > deadline:
                    raise
                clock.sleep(0.2)

    def _commit(self, job: Job, executed: Executed) -> Outcome:
        match executed.answer:
            case Completed() as answer:
                return self._complete(job, answer, executed.duration)
            case Suspended() as answer:
                return self._suspend(job, answer, executed.duration)
            case Failed() as answer:
                return self._fail(job, answer, executed.duration)

    def _complete(self, job: Job, answer: Completed, duration: int) -> Outcome:
        scene, ticked = job.scene, clock.monotonic_ns()
        run = job.claim.run
        context = scene.instance.context
        while True:
            try:
                targets = self._targets(job, answer, context)
            except Exception as error:  # noqa: BLE001 - a route is the user's code; its failure is the step's
                return self._fail(job, failed(error), duration)
            commitment = self.storage.commit(self._completion(job, answer, targets, expected=run.applied))
            if commitment.verdict is not Verdict.CONFLICT or commitment.run is None:
                break
            run = commitment.run
            context = codec.decode_instance(run).context
        return Outcome(
            label=answer.event,
            story=stories.completed(
                scene, job.claim, answer, commitment, duration=duration, tick=max(0, clock.monotonic_ns() - ticked)
            ),
            messages=_next_messages(job, commitment),
        )

    def _targets(self, job: Job, answer: Completed, context: Context) -> tuple[Target, ...]:
        workflow, step = job.scene.instance.workflow, job.scene.step
        if job.launches_done:
            return ()
        if (step, answer.event) in workflow.graph.dynamic:
            mine = EMPTY if answer.result is None else codec.decode(answer.result)
            context = replace(context, steps=MappingProxyType({**context.steps, step.key: mine}))
        return workflow.targets(step, answer.event, context)

    def _completion(self, job: Job, answer: Completed, targets: tuple[Target, ...], *, expected: int) -> Complete:
        workflow, step = job.scene.instance.workflow, job.scene.step
        computed = (step, answer.event) in workflow.graph.dynamic
        move = (
            self._move(workflow, step, targets) if computed else self._known_move(workflow, step, answer.event, targets)
        )
        source = job.claim.resume and job.claim.resume.source
        kind = {None: "attempt", "external": "resume", "timeout": "timer"}[source]
        return Complete(
            operation=f"{job.fence}c",
            run_id=job.scene.instance.run_id,
            step=step.key,
            fence=job.fence,
            entry=self._entry(job, kind=kind, event=answer.event),
            event=answer.event,
            result=answer.result,
            metadata=answer.metadata,
            settlement=move.settlement,
            attempts=move.attempts,
            configs=move.configs,
            rank=move.rank,
            done_entry=_done_entry(job) if Done.key in (step.key, *move.settlement.rows) else "",
            stuck=move.stuck,
            parcels=self._parcels(job, targets),
            expected=expected if computed else None,
        )

    def _known_move(self, workflow: type[Workflow], step: type[Step], event: str, targets: tuple[Target, ...]) -> _Move:
        # What a declared transition leads to is the same every time.
        known = self._moves.setdefault(workflow, {})
        move = known.get((step.key, event))
        if move is None:
            move = known[step.key, event] = self._move(workflow, step, targets)
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
        )

    def _parcels(self, job: Job, targets: tuple[Target, ...]) -> dict[str, Parcel]:
        instance = job.scene.instance
        starts = [DispatchStep(target.step.key, 1, 1) for target in targets if target.step is not Done]
        hints = messages(instance.workflow_name, instance.workflow_version, instance.run_id, starts)
        sealed = {hint.step: self._executor.seal(hint, parent=job.worker.task_id) for hint in hints}
        return {key: parcel for key, parcel in sealed.items() if parcel is not None}

    def _suspend(self, job: Job, answer: Suspended, duration: int) -> Outcome:
        step = job.scene.step
        commitment = self.storage.commit(
            Suspend(
                operation=f"{job.fence}c",
                run_id=job.scene.instance.run_id,
                step=step.key,
                fence=job.fence,
                entry=self._entry(job, kind="attempt"),
                accepts=step.resume_events(job.config),
                timeout=answer.timeout,
            )
        )
        return Outcome(
            label="waiting",
            story=stories.suspended(job.scene, job.claim, commitment, duration=duration),
            messages=_next_messages(job, commitment),
        )

    def due_message(self, entry: DueEntry) -> Message:
        """The message for a step whose time has come."""
        return messages(entry.name, entry.version, entry.run_id, [entry.dispatch])[0]

    def rescue(self, entry: DueEntry, *, worker: Worker) -> Outcome:
        """Tell a rescue that the store has recorded, and fail the attempt where one was lost."""
        reason = RESCUE_REASONS[entry.kind]
        lost = entry.kind in (Due.LAPSED, Due.OVERRAN)
        return self._rescued(
            entry.run_id,
            entry.dispatch.step,
            fence=entry.fence if lost else None,
            number=entry.sequence,
            reason=reason,
            worker=worker,
        )

    def lose(self, run_id: str, step: str, attempt: int, *, reason: str, worker: Worker) -> Outcome | None:
        """Fail an attempt whose task has ended without a commit; None when that task does not hold it (any more)."""
        fence = secrets.token_hex(8)
        entry = codec.encode_entry(kind="rescue", step=step, attempt=attempt, reason=reason, worker=worker.hostname)
        number = self.storage.seize(
            run_id, step, attempt=attempt, holder=worker.task_id or "", fence=fence, entry=entry
        )
        if number is None:
            return None
        return self._rescued(run_id, step, fence=fence, number=number, reason=reason, worker=worker)

    def forgo(self, job: Job, *, reason: str) -> Outcome:
        """Fail a claimed attempt without executing it."""
        return self._fail(job, lost(f"step {job.scene.step.key}: {reason}"), 0)

    def _rescued(
        self, run_id: str, step: str, *, fence: str | None, number: int, reason: str, worker: Worker
    ) -> Outcome:
        run = self.storage.load(run_id)
        if run is None:
            return Outcome(label="gone")
        instance = codec.decode_instance(run)
        step_class = None if instance.definition is None else instance.definition.graph.by_key.get(step)
        if step_class is None:
            return self._rescued_unknown(run, run_id, step, fence=fence, reason=reason, worker=worker)
        scene = Scene(instance=instance, step=step_class, runner=self.runner, worker=worker.fields)
        told = stories.rescued(scene, number, attempt=run.steps[step].attempt, reason=reason)
        if fence is None:
            return Outcome(label="rescued", story=told)
        state = run.steps[step]
        claim = Claim(
            run=run, first=False, sequence=0, queued_at=state.queued_at or 0, claimed_at=state.claimed_at or 0
        )
        job = Job(scene=scene, claim=claim, fence=fence, worker=worker, config=None, began=clock.monotonic_ns())
        duration = max(0, self.storage.now() - claim.claimed_at) * 1000
        outcome = self._fail(job, lost(f"step {step}: {reason}"), duration)
        return replace(outcome, story=[*told, *outcome.story])

    def _rescued_unknown(
        self, run: StoredRun, run_id: str, step: str, *, fence: str | None, reason: str, worker: Worker
    ) -> Outcome:
        # The workflow is another deployment's: its attempt is failed all the same, by the application's own policy;
        # only the history tells of it, since there is no class to name.
        if fence is None:
            return Outcome(label="unknown")
        state = run.steps[step]
        answer = lost(f"step {step}: {reason}")
        entry = codec.encode_entry(
            kind="attempt",
            step=step,
            attempt=state.attempt,
            reason=answer.account,
            worker=state.worker or worker.hostname,
        )
        common = {"operation": f"{fence}f", "run_id": run_id, "step": step, "fence": fence, "entry": entry}
        if state.attempt < state.max_attempts:
            delay = self.settings.default_retry.delay(state.attempt, chance=secrets.SystemRandom().random())
            self.storage.commit(Retry(**common, delay=int(delay * 1e6)))
        else:
            self.storage.commit(Fail(**common, failure=codec.encode(answer.failure)))
        return Outcome(label="unknown")

    def _fail(self, job: Job, answer: Failed, duration: int) -> Outcome:
        state = job.claim.run.steps[job.scene.step.key]
        if answer.retry and state.attempt < state.max_attempts:
            return self._retry(job, answer, duration)
        commitment = self.storage.commit(
            Fail(
                operation=f"{job.fence}f",
                run_id=job.scene.instance.run_id,
                step=job.scene.step.key,
                fence=job.fence,
                entry=self._entry(job, kind="attempt", reason=answer.account),
                failure=codec.encode(answer.failure),
            )
        )
        return Outcome(
            label="failed",
            story=stories.failed(job.scene, job.claim, answer, commitment, duration=duration),
            error=answer.error,
        )

    def _retry(self, job: Job, answer: Failed, duration: int) -> Outcome:
        scene = job.scene
        policy = scene.instance.workflow.retry_policy(scene.step, self.settings.default_retry)
        attempt = job.claim.run.steps[scene.step.key].attempt
        delay = policy.delay(attempt, chance=secrets.SystemRandom().random())
        commitment = self.storage.commit(
            Retry(
                operation=f"{job.fence}f",
                run_id=scene.instance.run_id,
                step=scene.step.key,
                fence=job.fence,
                entry=self._entry(job, kind="attempt", reason=answer.account),
                delay=int(delay * 1e6),
            )
        )
        return Outcome(
            label="retrying",
            story=stories.failed(scene, job.claim, answer, commitment, duration=duration, retry_in=delay),
            error=answer.error,
            retry_in=delay if commitment.verdict is Verdict.APPLIED else None,
        )

    def _entry(self, job: Job, *, kind: str, event: str | None = None, reason: str | None = None) -> str:
        step = job.scene.step.key
        return codec.encode_entry(
            kind=kind,
            step=step,
            attempt=job.claim.run.steps[step].attempt,
            event=event,
            reason=reason,
            # Who lost it, where this is told by whoever noticed; its task is not known any more.
            worker=job.claim.run.steps[step].worker or job.worker.hostname,
            task_id=job.worker.task_id,
            run_id=job.scene.instance.run_id,
        )

    def _encoded_config(self, target: Target) -> str | None:
        if target.config is None:
            return None
        config = check_mapping(target.step.plain_config(target.config), f"{target.step.key}: config")
        return codec.encode_limited(config, f"{target.step.key}: config", limit=self.settings.max_payload)


def _done_entry(job: Job) -> str:
    return codec.encode_entry(
        kind="attempt",
        step=Done.key,
        attempt=1,
        event="done",
        worker=job.worker.hostname,
        task_id=job.worker.task_id,
        run_id=job.scene.instance.run_id,
    )


def _next_messages(job: Job, commitment: Commitment) -> list[Message]:
    instance = job.scene.instance
    return messages(instance.workflow_name, instance.workflow_version, instance.run_id, commitment.dispatches)


def _is_exit(answer: Answer) -> bool:
    return isinstance(answer, Failed) and answer.kind == "exit"


def _is_over(step: type[Step], elapsed: int) -> bool:
    allowed = limit(step)
    return allowed is not None and elapsed > allowed * 1e9


def _non_empty(text: str | None) -> str | None:
    return None if text in (None, "{}") else text
