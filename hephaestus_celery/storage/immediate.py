"""Any storage as coroutines that never suspend: each call blocks until its reply is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.resolve import Candidates
from hephaestus_celery.core.execution.standing import RunFacts
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.event_stream import Reading
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.pauses import PauseReport, PauseRequest
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import DataKind, Query, StoredEntry, StoredRun
from hephaestus_celery.storage.reruns import Rerun
from hephaestus_celery.storage.resume_and_cancel import Cancellation, CancelRequest, Delivery, DeliveryReport
from hephaestus_celery.storage.starts import NewRun

P = ParamSpec("P")
T = TypeVar("T")


class Immediate:
    """An ``AsyncStorage`` for :func:`~hephaestus_celery.coroutines.run_now`: awaiting a call of it is calling ``storage``."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def _call(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        return call(*args, **named)

    async def now(self) -> int:
        return await self._call(self._storage.now)

    async def create(self, run: NewRun) -> Sequence[DispatchStep]:
        return await self._call(self._storage.create, run)

    async def rerun(self, rerun: Rerun) -> Sequence[DispatchStep]:
        return self._storage.rerun(rerun)

    async def create_many(self, runs: Sequence[NewRun]) -> Sequence[Sequence[DispatchStep] | Exception]:
        return await self._call(self._storage.create_many, runs)

    async def deliver(self, delivery: Delivery) -> DeliveryReport:
        return await self._call(self._storage.deliver, delivery)

    async def schedule(self, run_id: str, activation: Activation, *, reference: str, delay: int) -> bool:
        return await self._call(self._storage.schedule, run_id, activation, reference=reference, delay=delay)

    async def unschedule(self, run_id: str, activation: Activation, *, reference: str, operation: str) -> bool:
        return await self._call(self._storage.unschedule, run_id, activation, reference=reference, operation=operation)

    async def cancel(self, request: CancelRequest) -> Cancellation | None:
        return await self._call(self._storage.cancel, request)

    async def pause(self, request: PauseRequest) -> PauseReport:
        return await self._call(self._storage.pause, request)

    async def unpause(self, request: PauseRequest) -> PauseReport:
        return await self._call(self._storage.unpause, request)

    async def pause_workflow(self, family: str, *, operation: str, by: str | None, durations: Durations) -> bool:
        return await self._call(self._storage.pause_workflow, family, operation=operation, by=by, durations=durations)

    async def unpause_workflow(self, family: str, *, operation: str, durations: Durations) -> bool:
        return await self._call(self._storage.unpause_workflow, family, operation=operation, durations=durations)

    async def paused_workflows(self) -> Mapping[str, PauseMark]:
        return await self._call(self._storage.paused_workflows)

    async def cancel_many(
        self, run_ids: Sequence[str], *, operation: str, reason: str | None, entry: str, durations: Durations
    ) -> Sequence[Cancellation | Untouched]:
        return await self._call(
            self._storage.cancel_many, run_ids, operation=operation, reason=reason, entry=entry, durations=durations
        )

    async def delete_many(self, run_ids: Sequence[str], *, operation: str) -> Sequence[Untouched | None]:
        return await self._call(self._storage.delete_many, run_ids, operation=operation)

    async def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        return await self._call(self._storage.load, run_id, steps=steps)

    async def read_initial(self, run_id: str) -> str:
        return await self._call(self._storage.read_initial, run_id)

    async def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        return await self._call(self._storage.read_states, run_id, steps)

    async def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        return await self._call(self._storage.read_data, run_id, kind, steps)

    async def candidates(self, instance_id: str, *, family: str | None, version: int | None = None) -> Candidates:
        return await self._call(self._storage.candidates, instance_id, family=family, version=version)

    async def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]:
        return await self._call(self._storage.history, run_id, after=after, limit=limit)

    async def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
        return await self._call(self._storage.list_runs, query)

    async def list_run_ids(self, query: Query) -> tuple[Sequence[str], str | None]:
        return await self._call(self._storage.list_run_ids, query)

    async def count_runs(self, query: Query) -> int:
        return await self._call(self._storage.count_runs, query)

    async def runs_beginning_with(self, beginning: str, *, limit: int) -> Sequence[str]:
        return await self._call(self._storage.runs_beginning_with, beginning, limit=limit)

    async def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]:
        return await self._call(self._storage.due_times, steps)

    async def facts(self, run_id: str, steps: Sequence[Activation]) -> RunFacts | None:
        return await self._call(self._storage.facts, run_id, steps)

    async def read_events(
        self, partition: int, *, group: str, consumer: str, limit: int, after: str | None = None
    ) -> Reading:
        return await self._call(
            self._storage.read_events, partition, group=group, consumer=consumer, limit=limit, after=after
        )

    async def take_over_events(
        self, partition: int, *, group: str, consumer: str, limit: int, idle: int, start: str
    ) -> Reading:
        return await self._call(
            self._storage.take_over_events,
            partition,
            group=group,
            consumer=consumer,
            limit=limit,
            idle=idle,
            start=start,
        )

    async def browse_events(self, partition: int, *, after: str | None, limit: int) -> Reading:
        return await self._call(self._storage.browse_events, partition, after=after, limit=limit)

    async def acknowledge_events(self, partition: int, *, group: str, ids: Sequence[str]) -> None:
        await self._call(self._storage.acknowledge_events, partition, group=group, ids=ids)

    async def acknowledge_events_in_part(self, partition: int, *, group: str, id: str, places: Sequence[int]) -> None:
        await self._call(self._storage.acknowledge_events_in_part, partition, group=group, id=id, places=places)

    async def leave_events(self, partition: int, *, group: str, consumer: str) -> None:
        await self._call(self._storage.leave_events, partition, group=group, consumer=consumer)

    async def await_events(self, partition: int, *, newest: str, timeout: float) -> bool:
        return await self._call(self._storage.await_events, partition, newest=newest, timeout=timeout)

    async def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        return await self._call(self._storage.wait_finished, run_id, timeout=timeout)

    async def close(self) -> None:
        """There is nothing of an event loop."""
