"""What clients ask of the Redis store, as coroutines: written once, for blocking calls and for event loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hephaestus_celery.clock import Chance
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
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.deletions import Deletions
from hephaestus_celery.storage.redis.event_streams import EventStreams
from hephaestus_celery.storage.redis.listing import Listing
from hephaestus_celery.storage.redis.pauses import Pauses
from hephaestus_celery.storage.redis.reads import Reads
from hephaestus_celery.storage.redis.reruns import Reruns
from hephaestus_celery.storage.redis.resume_and_cancel import ResumeAndCancel
from hephaestus_celery.storage.redis.scripts import is_texts
from hephaestus_celery.storage.redis.settling import Settling
from hephaestus_celery.storage.redis.standing import Standings
from hephaestus_celery.storage.redis.starts import Starts
from hephaestus_celery.storage.resume_and_cancel import Cancellation, CancelRequest, Delivery, DeliveryReport


class ClientCalls:
    """The calls of ``AsyncStorage`` but ``wait_finished``, over scripts and commands of one kind: blocking, or of a loop."""

    def __init__(self, calls: AsyncCalls, *, chance: Chance) -> None:
        self._calls = calls
        self.reads = Reads(calls)
        self.settling = Settling(calls, self.reads)
        self._listing = Listing(calls)
        self._standings = Standings(calls)
        self._deletions = Deletions(calls)
        starts = Starts(calls, self.settling, chance=chance)
        self.create, self.create_many = starts.create, starts.create_many
        self.reruns = Reruns(calls, self.reads, chance=chance)
        self.rerun = self.reruns.rerun
        self._event_streams = EventStreams(calls)
        self._pauses = Pauses(calls)
        self._resume_and_cancel = ResumeAndCancel(calls, self.reads, self._listing)

    async def now(self) -> int:
        seconds, micros = await self._calls.command("TIME", fits=is_texts)
        return int(seconds) * 1_000_000 + int(micros)

    async def deliver(self, delivery: Delivery) -> DeliveryReport:
        return await self._resume_and_cancel.deliver(delivery)

    async def schedule(self, run_id: str, activation: Activation, *, reference: str, delay: int) -> bool:
        return await self._resume_and_cancel.schedule(run_id, activation, reference=reference, delay=delay)

    async def unschedule(self, run_id: str, activation: Activation, *, reference: str, operation: str) -> bool:
        return await self._resume_and_cancel.unschedule(run_id, activation, reference=reference, operation=operation)

    async def cancel(self, request: CancelRequest) -> Cancellation | None:
        return await self._resume_and_cancel.cancel(request)

    async def pause(self, request: PauseRequest) -> PauseReport:
        return await self._pauses.change(request, paused=True)

    async def unpause(self, request: PauseRequest) -> PauseReport:
        return await self._pauses.change(request, paused=False)

    async def pause_workflow(self, family: str, *, operation: str, by: str | None, durations: Durations) -> bool:
        return await self._pauses.change_workflow(family, operation=operation, by=by, durations=durations, paused=True)

    async def unpause_workflow(self, family: str, *, operation: str, durations: Durations) -> bool:
        return await self._pauses.change_workflow(
            family, operation=operation, by=None, durations=durations, paused=False
        )

    async def paused_workflows(self) -> Mapping[str, PauseMark]:
        return await self._pauses.paused_workflows()

    async def cancel_many(
        self, run_ids: Sequence[str], *, operation: str, reason: str | None, entry: str, durations: Durations
    ) -> Sequence[Cancellation | Untouched]:
        return await self._deletions.cancel_many(
            run_ids, operation=operation, reason=reason, entry=entry, durations=durations
        )

    async def delete_many(self, run_ids: Sequence[str], *, operation: str) -> Sequence[Untouched | None]:
        return await self._deletions.delete_many(run_ids, operation=operation)

    async def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        return await self.reads.load(run_id, steps=steps)

    async def read_initial(self, run_id: str) -> str:
        return await self.reads.initial(run_id)

    async def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        return await self.reads.states(run_id, steps)

    async def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        return await self.reads.data(run_id, kind, steps)

    async def candidates(self, instance_id: str, *, family: str | None, version: int | None = None) -> Candidates:
        return await self._listing.candidates(instance_id, family=family, version=version)

    async def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]:
        return await self.reads.history(run_id, after=after, limit=limit)

    async def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
        return await self._listing.list_runs(query)

    async def list_run_ids(self, query: Query) -> tuple[Sequence[str], str | None]:
        return await self._listing.list_run_ids(query)

    async def count_runs(self, query: Query) -> int:
        return await self._listing.count_runs(query)

    async def runs_beginning_with(self, beginning: str, *, limit: int) -> Sequence[str]:
        return await self._listing.runs_beginning_with(beginning, limit=limit)

    async def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]:
        return await self._standings.due_times(steps)

    async def facts(self, run_id: str, steps: Sequence[Activation]) -> RunFacts | None:
        return await self._standings.facts(run_id, steps)

    async def read_events(
        self, partition: int, *, group: str, consumer: str, limit: int, after: str | None = None
    ) -> Reading:
        return await self._event_streams.read(partition, group=group, consumer=consumer, limit=limit, after=after)

    async def take_over_events(
        self, partition: int, *, group: str, consumer: str, limit: int, idle: int, start: str
    ) -> Reading:
        return await self._event_streams.take_over(
            partition, group=group, consumer=consumer, limit=limit, idle=idle, start=start
        )

    async def browse_events(self, partition: int, *, after: str | None, limit: int) -> Reading:
        return await self._event_streams.browse(partition, after=after, limit=limit)

    async def acknowledge_events(self, partition: int, *, group: str, ids: Sequence[str]) -> None:
        await self._event_streams.acknowledge(partition, group=group, ids=ids)

    async def acknowledge_events_in_part(self, partition: int, *, group: str, id: str, places: Sequence[int]) -> None:
        await self._event_streams.acknowledge_in_part(partition, group=group, id=id, places=places)

    async def leave_events(self, partition: int, *, group: str, consumer: str) -> None:
        await self._event_streams.leave(partition, group=group, consumer=consumer)

    async def await_events(self, partition: int, *, newest: str, timeout: float) -> bool:
        return await self._event_streams.await_new(partition, newest=newest, timeout=timeout)
