"""The part of the storage port that clients call, as coroutines: what each call does, ``port.py`` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

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
from hephaestus_celery.storage.queries import DataKind, Query, StoredEntry, StoredRun
from hephaestus_celery.storage.reruns import Rerun
from hephaestus_celery.storage.resume_and_cancel import Cancellation, Delivery, DeliveryReport
from hephaestus_celery.storage.starts import NewRun


class AsyncReader(Protocol):
    """As :class:`~hephaestus_celery.storage.queries.Reader`."""

    async def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None: ...

    async def read_initial(self, run_id: str) -> str: ...

    async def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]: ...

    async def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]: ...


class AsyncStorage(AsyncReader, Protocol):
    """As :class:`~hephaestus_celery.storage.port.Storage`, for what clients call; :class:`.immediate.Immediate` is one."""

    async def now(self) -> int: ...

    async def create(self, run: NewRun) -> Sequence[DispatchStep]: ...

    async def rerun(self, rerun: Rerun) -> Sequence[DispatchStep]: ...

    async def create_many(self, runs: Sequence[NewRun]) -> Sequence[Sequence[DispatchStep] | Exception]: ...

    async def deliver(self, delivery: Delivery) -> DeliveryReport: ...

    async def schedule(self, run_id: str, activation: Activation, *, reference: str, delay: int) -> bool: ...

    async def unschedule(self, run_id: str, activation: Activation, *, reference: str, operation: str) -> bool: ...

    async def cancel(
        self,
        run_id: str,
        *,
        operation: str,
        reason: str | None,
        entry: str,
        durations: Durations,
        compensate: bool = False,
    ) -> Cancellation | None: ...

    async def pause(self, request: PauseRequest) -> PauseReport: ...

    async def unpause(self, request: PauseRequest) -> PauseReport: ...

    async def pause_workflow(self, family: str, *, operation: str, by: str | None, durations: Durations) -> bool: ...

    async def unpause_workflow(self, family: str, *, operation: str, durations: Durations) -> bool: ...

    async def paused_workflows(self) -> Mapping[str, PauseMark]: ...

    async def cancel_many(
        self, run_ids: Sequence[str], *, operation: str, reason: str | None, entry: str, durations: Durations
    ) -> Sequence[Cancellation | Untouched]: ...

    async def delete_many(self, run_ids: Sequence[str], *, operation: str) -> Sequence[Untouched | None]: ...

    async def candidates(self, instance_id: str, *, family: str | None, version: int | None = None) -> Candidates: ...

    async def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]: ...

    async def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]: ...

    async def list_run_ids(self, query: Query) -> tuple[Sequence[str], str | None]: ...

    async def count_runs(self, query: Query) -> int: ...

    async def runs_beginning_with(self, beginning: str, *, limit: int) -> Sequence[str]: ...

    async def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]: ...

    async def facts(self, run_id: str, steps: Sequence[Activation]) -> RunFacts | None: ...

    async def read_events(
        self, partition: int, *, group: str, consumer: str, limit: int, after: str | None = None
    ) -> Reading: ...

    async def take_over_events(
        self, partition: int, *, group: str, consumer: str, limit: int, idle: int, start: str
    ) -> Reading: ...

    async def browse_events(self, partition: int, *, after: str | None, limit: int) -> Reading: ...

    async def acknowledge_events(self, partition: int, *, group: str, ids: Sequence[str]) -> None: ...

    async def acknowledge_events_in_part(
        self, partition: int, *, group: str, id: str, places: Sequence[int]
    ) -> None: ...

    async def leave_events(self, partition: int, *, group: str, consumer: str) -> None: ...

    async def await_events(self, partition: int, *, newest: str, timeout: float) -> bool: ...

    async def wait_finished(self, run_id: str, *, timeout: float | None) -> bool: ...

    async def close(self) -> None:
        """Close what the running event loop has; further calls open it again."""
        ...
