"""The storage port in Redis or Valkey: each call is one script, one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from redis import Redis

from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance, Clock
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.resolve import Candidates
from hephaestus_celery.core.execution.standing import RunFacts
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.storage.async_port import AsyncStorage
from hephaestus_celery.storage.claims import Attempt, Claim, ClaimRequest, Refusal
from hephaestus_celery.storage.commits import AnyCommit, Commitment
from hephaestus_celery.storage.due import DueEntry, Outstanding, Sent, Tick
from hephaestus_celery.storage.durations import Durations, microseconds
from hephaestus_celery.storage.event_stream import Reading
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.pauses import PauseReport, PauseRequest
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import DataKind, Query, StoredEntry, StoredRun
from hephaestus_celery.storage.redis.async_calls import BlockingCalls
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.claims import Claims
from hephaestus_celery.storage.redis.client import connect, connect_loop
from hephaestus_celery.storage.redis.client_calls import ClientCalls
from hephaestus_celery.storage.redis.commits import Commits
from hephaestus_celery.storage.redis.connections import MOST, Connections
from hephaestus_celery.storage.redis.examination import Examination
from hephaestus_celery.storage.redis.glances import Glances
from hephaestus_celery.storage.redis.keys import Keys
from hephaestus_celery.storage.redis.loop_storage import LoopStorage
from hephaestus_celery.storage.redis.scheduling import Scheduling
from hephaestus_celery.storage.redis.scripts import is_number, is_values
from hephaestus_celery.storage.redis.waits_for_ends import Waits
from hephaestus_celery.storage.redis.wakeups import Wakeups
from hephaestus_celery.storage.reruns import Copied, Rerun
from hephaestus_celery.storage.resume_and_cancel import Cancellation, CancelRequest, Delivery, DeliveryReport
from hephaestus_celery.storage.starts import NewRun

_PLACES = {"db", "host", "path", "port", "unix_socket_path"}


class RedisStorage:
    """Keeps instances in Redis >= 6.2 or Valkey.

    It has its own connections, opened when they are first used, and anew in a forked process. Every call raises
    ``StorageError`` within a few seconds if the server is out of reach.
    """

    name = "redis"

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "hephaestus",
        partitions: int = 1,
        timeout: timedelta = timedelta(seconds=2),
        options: Mapping[str, Any] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Chance = SYSTEM_CHANCE,
    ) -> None:
        self._url, self._options, self._timeout = url, options or {}, timeout
        self._clock, self._chance = clock, chance
        self.keys = Keys(namespace, partitions)
        self.partitions = partitions
        self._client: Redis = connect(url, timeout=timeout, options=self._options)
        most = int(self._options.get("max_connections", MOST))
        self._connections = Connections(self._client, most=most, timeout=timeout.total_seconds())
        self._calls = Calls(self._connections, self.keys, slack=microseconds(timeout), clock=clock)
        self._clients = ClientCalls(BlockingCalls(self._calls), chance=chance)
        self._loop_storage = LoopStorage(
            self._calls,
            client=lambda: connect_loop(url, timeout=timeout, options=self._options),
            most=most,
            timeout=timeout.total_seconds(),
            chance=chance,
        )
        self._claims = Claims(self._calls)
        self._commits = Commits(self._calls, self._clients.reads, self._clients.settling, chance=chance)
        self._scheduling = Scheduling(self._calls, clock=clock, chance=chance)
        self._wakeups = Wakeups(self._client, [f"{prefix}wake" for prefix in self.keys.all_partitions()])
        self._waits = Waits(
            self._client,
            ended=self._ended,
            channel=lambda run_id: self.keys.of_run(run_id).finished,
            wake=lambda channel: self._connections.call("PUBLISH", channel, "1", fits=is_number),
            own_channel=f"{self.keys.partition(0)}waits:",
            chance=chance,
        )

    @property
    def url(self) -> str | None:
        """The URL of the server; None if options say more than the URL."""
        return None if _PLACES & set(self._options) else self._url

    def is_one_with(self, other: Storage) -> bool:
        if self is other or not isinstance(other, RedisStorage):
            return self is other
        return self.url is not None and (self.url, self.keys) == (other.url, other.keys)

    def now(self) -> int:
        return run_now(self._clients.now())

    def create(self, run: NewRun) -> Sequence[DispatchStep]:
        return run_now(self._clients.create(run))

    def rerun(self, rerun: Rerun) -> Sequence[DispatchStep]:
        return run_now(self._clients.reruns.rerun(rerun))

    def copy(self, run_id: str, *, durations: Durations) -> Copied:
        return run_now(self._clients.reruns.copy(run_id, durations=durations))

    def create_many(self, runs: Sequence[NewRun]) -> Sequence[Sequence[DispatchStep] | Exception]:
        return run_now(self._clients.create_many(runs))

    def claim(self, request: ClaimRequest) -> Claim | Refusal:
        return self._claims.claim(request)

    def commit(self, commit: AnyCommit) -> Commitment:
        return self._commits.commit(commit)

    def settle(self, run_id: str, activation: Activation, *, durations: Durations) -> Commitment:
        return self._commits.settle(run_id, activation, durations=durations)

    def undo(self, run_id: str, *, durations: Durations) -> Commitment:
        return self._commits.undo(run_id, durations=durations)

    def renew(self, attempts: Sequence[Attempt], *, wanted: bool = False) -> Sequence[bool]:
        return self._claims.renew(attempts, wanted=wanted)

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
        return self._claims.seize(
            run_id,
            activation,
            attempt=attempt,
            holder=holder,
            fence=fence,
            reason=reason,
            worker=worker,
            durations=durations,
            timed_out=timed_out,
        )

    def schedule(self, run_id: str, activation: Activation, *, reference: str, delay: int) -> bool:
        return run_now(self._clients.schedule(run_id, activation, reference=reference, delay=delay))

    def unschedule(self, run_id: str, activation: Activation, *, reference: str, operation: str) -> bool:
        return run_now(self._clients.unschedule(run_id, activation, reference=reference, operation=operation))

    def tick(self, partition: int, *, owner: str, worker: str, seize: bool, durations: Durations) -> Tick:
        return self._scheduling.tick(partition, owner=owner, worker=worker, seize=seize, durations=durations)

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
        return self._scheduling.resend(
            partition, lost, lane=lane, operation=operation, worker=worker, durations=durations
        )

    def redirect(self, sent: Sequence[Sent], *, durations: Durations) -> None:
        self._scheduling.redirect(sent, durations=durations)

    def outstanding(self, *lanes: str) -> int:
        return self._scheduling.outstanding(*lanes)

    def report(self, worker: str, holdings: str | None, *, lifetime: int) -> None:
        self._scheduling.report(worker, holdings, lifetime=lifetime)

    def reports(self) -> Sequence[str]:
        return self._scheduling.reports()

    def resign(self, *, owner: str) -> None:
        self._scheduling.resign(owner=owner)

    def await_due(self, *, timeout: float) -> bool:
        with self._calls.reached():
            return self._wakeups.wait(timeout=timeout)

    def separate(self) -> RedisStorage:
        return RedisStorage(
            self._url,
            namespace=self.keys.namespace,
            partitions=self.partitions,
            timeout=self._timeout,
            options=self._options,
            clock=self._clock,
            chance=self._chance,
        )

    def read_clock(self) -> None:
        with self._calls.reached():
            for partition in range(self.partitions):
                self._calls.clock(self.keys.partition(partition)).look()

    def deliver(self, delivery: Delivery) -> DeliveryReport:
        return run_now(self._clients.deliver(delivery))

    def cancel(self, request: CancelRequest) -> Cancellation | None:
        return run_now(self._clients.cancel(request))

    def cancel_many(
        self, run_ids: Sequence[str], *, operation: str, reason: str | None, entry: str, durations: Durations
    ) -> Sequence[Cancellation | Untouched]:
        return run_now(
            self._clients.cancel_many(run_ids, operation=operation, reason=reason, entry=entry, durations=durations)
        )

    def delete_many(self, run_ids: Sequence[str], *, operation: str) -> Sequence[Untouched | None]:
        return run_now(self._clients.delete_many(run_ids, operation=operation))

    def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        return run_now(self._clients.load(run_id, steps=steps))

    def read_initial(self, run_id: str) -> str:
        return run_now(self._clients.read_initial(run_id))

    def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        return run_now(self._clients.read_states(run_id, steps))

    def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        return run_now(self._clients.read_data(run_id, kind, steps))

    def pause(self, request: PauseRequest) -> PauseReport:
        return run_now(self._clients.pause(request))

    def unpause(self, request: PauseRequest) -> PauseReport:
        return run_now(self._clients.unpause(request))

    def pause_workflow(self, family: str, *, operation: str, by: str | None, durations: Durations) -> bool:
        return run_now(self._clients.pause_workflow(family, operation=operation, by=by, durations=durations))

    def unpause_workflow(self, family: str, *, operation: str, durations: Durations) -> bool:
        return run_now(self._clients.unpause_workflow(family, operation=operation, durations=durations))

    def paused_workflows(self) -> Mapping[str, PauseMark]:
        return run_now(self._clients.paused_workflows())

    def candidates(self, instance_id: str, *, family: str | None, version: int | None = None) -> Candidates:
        return run_now(self._clients.candidates(instance_id, family=family, version=version))

    def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]:
        return run_now(self._clients.history(run_id, after=after, limit=limit))

    def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
        return run_now(self._clients.list_runs(query))

    def list_run_ids(self, query: Query) -> tuple[Sequence[str], str | None]:
        return run_now(self._clients.list_run_ids(query))

    def count_runs(self, query: Query) -> int:
        return run_now(self._clients.count_runs(query))

    def runs_beginning_with(self, beginning: str, *, limit: int) -> Sequence[str]:
        return run_now(self._clients.runs_beginning_with(beginning, limit=limit))

    def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]:
        return run_now(self._clients.due_times(steps))

    def facts(self, run_id: str, steps: Sequence[Activation]) -> RunFacts | None:
        return run_now(self._clients.facts(run_id, steps))

    def read_events(
        self, partition: int, *, group: str, consumer: str, limit: int, after: str | None = None
    ) -> Reading:
        return run_now(self._clients.read_events(partition, group=group, consumer=consumer, limit=limit, after=after))

    def take_over_events(
        self, partition: int, *, group: str, consumer: str, limit: int, idle: int, start: str
    ) -> Reading:
        return run_now(
            self._clients.take_over_events(
                partition, group=group, consumer=consumer, limit=limit, idle=idle, start=start
            )
        )

    def browse_events(self, partition: int, *, after: str | None, limit: int) -> Reading:
        return run_now(self._clients.browse_events(partition, after=after, limit=limit))

    def acknowledge_events(self, partition: int, *, group: str, ids: Sequence[str]) -> None:
        run_now(self._clients.acknowledge_events(partition, group=group, ids=ids))

    def acknowledge_events_in_part(self, partition: int, *, group: str, id: str, places: Sequence[int]) -> None:
        run_now(self._clients.acknowledge_events_in_part(partition, group=group, id=id, places=places))

    def leave_events(self, partition: int, *, group: str, consumer: str) -> None:
        run_now(self._clients.leave_events(partition, group=group, consumer=consumer))

    def await_events(self, partition: int, *, newest: str, timeout: float) -> bool:
        longest = self._timeout.total_seconds() / 2  # half the time limit of a command
        return run_now(self._clients.await_events(partition, newest=newest, timeout=min(timeout, longest)))

    def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        with self._calls.reached():
            return self._waits.wait(run_id, timeout=timeout)

    def examination(self, *, seconds: float = 5.0) -> Examination:
        """What reads the state of this store for an operator; each part of it takes at most so many seconds."""
        return Examination(self._calls, clock=self._clock, seconds=seconds)

    def glances(self) -> Glances:
        """What looks at this store again and again, cheaply."""
        return Glances(self._calls)

    def aio(self) -> AsyncStorage:
        return self._loop_storage

    def close(self) -> None:
        self._wakeups.close()
        self._waits.close()
        self._connections.close()
        self._client.close()

    def _ended(self, run_ids: Sequence[str]) -> list[bool]:
        found = self._connections.call_many(
            [("HMGET", self.keys.of_run(run_id).run, "st") for run_id in run_ids], fits=is_values
        )
        return [status is None or Status(status.decode()).final for [status] in found]
