"""The port over Redis or Valkey: each call is one script, one round trip."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal, cast

from redis import Redis
from redis.exceptions import RedisError

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.settle import Settlement
from hephaestus_celery.core.execution.transitions import StepState, Verdict
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.retry import FOREVER
from hephaestus_celery.exceptions import DataError, InstanceNotFoundError, StorageError
from hephaestus_celery.storage.port import (
    SCHEMA,
    Cancellation,
    Candidates,
    Claim,
    ClaimRequest,
    Commitment,
    Complete,
    DataKind,
    Delivery,
    DeliveryReport,
    DueEntry,
    Durations,
    Fail,
    Lease,
    NewRun,
    Outstanding,
    PreparedMessage,
    Query,
    Refusal,
    Refused,
    Retry,
    RunSummary,
    Sent,
    Storage,
    StoredEntry,
    StoredRun,
    Suspend,
    Tick,
    already_running,
    written_by_newer,
)
from hephaestus_celery.storage.redis import replies
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.connections import MOST, Connections
from hephaestus_celery.storage.redis.errors import explain, is_transient, was_not_done
from hephaestus_celery.storage.redis.framing import reading
from hephaestus_celery.storage.redis.keys import Keys, indexes
from hephaestus_celery.storage.redis.scheduler_lock import SchedulerLock
from hephaestus_celery.storage.redis.scripts import Scripts, is_number, is_texts, is_values
from hephaestus_celery.storage.redis.steady_clock import Reading, SteadyClock
from hephaestus_celery.storage.redis.waits import Endings
from hephaestus_celery.storage.redis.wide_steps import SLICE, Edges, Progress

_TICK = 100  # entries of the due set that one script call does: in some milliseconds
_PLACES = {"db", "host", "path", "port", "unix_socket_path"}
_HASTY = 250_000  # microseconds that a tick is given at least
# What is not to happen when whoever asked has given up. Commits are not among them: a step was executed, and its result
# counts whenever it comes.
_PUNCTUAL = {"create", "claim", "renew", "seize", "deliver", "cancel", "schedule", "unschedule", "resign", "resend"}
_TIMELESS = {"load", "data", "candidates", "list", "stage"}
_BUDGET = 100  # runs that one script call of a listing looks at
_ROWS = 50  # and how many of them it gives
_MOST_CARRIED = 1000  # predecessors whose results a claim looks for
_MOST_NAMES = 500  # steps that one call is asked about
_MOST_WAITING = 100  # steps of a large run that may be what an event is for
_MOST_LEASES = 100  # that one call renews, and messages that one redirects
_PAGE = 200  # entries of a history that are read at once
_LOOKS = 5  # attempts to read the states of many steps while none of them moves


class RedisStorage:
    """Keeps instances in Redis >= 6.2 or Valkey.

    Has connections of its own, which are opened when they are first used and anew in a forked process. Every call
    raises ``StorageError`` within a few seconds when the server is out of reach. ``dispatch_timeout``, ``lease`` and
    ``retention`` hold for the runtime that uses it as well; what is not given here is what that runtime's settings say.
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
        dispatch_timeout: timedelta | None = None,
        lease: timedelta | None = None,
        retention: timedelta | Literal["default"] | None = "default",
    ) -> None:
        self._arguments: dict[str, Any] = {
            "url": url,
            "namespace": namespace,
            "partitions": partitions,
            "timeout": timeout,
            "options": options,
            "dispatch_timeout": dispatch_timeout,
            "lease": lease,
            "retention": retention,
        }
        self.keys = Keys(namespace, partitions)
        self.partitions = partitions
        self._bell: Any = None
        self._client: Redis = connect(url, timeout=timeout, options=options or {})
        self._connections = Connections(
            self._client, most=int((options or {}).get("max_connections", MOST)), patience=timeout.total_seconds()
        )
        self._endings = Endings(
            self._client,
            ended=self._ended,
            channel=lambda run_id: self.keys.of_run(run_id).finished,
            ring=lambda bell: self._connections.call("PUBLISH", bell, "1", fits=is_number),
            bell=f"{self.keys.partition(0)}waits:",
        )
        self._scripts = Scripts()
        self._clocks: dict[str, SteadyClock] = {}
        self._locks: dict[tuple[str, str], SchedulerLock] = {}
        self._patience = _microseconds(timeout)
        self._durations = self._hold(Durations())
        self._adopted = False

    @property
    def url(self) -> str | None:
        """Where it keeps the state, None where options say more than the URL."""
        return None if _PLACES & set(self._arguments["options"] or ()) else self._arguments["url"]

    def is_one_with(self, other: Storage) -> bool:
        if self is other or not isinstance(other, RedisStorage):
            return self is other
        return self.url is not None and (self.url, self.keys) == (other.url, other.keys)

    def adopt(self, durations: Durations) -> Durations:
        if not self._adopted:
            self._durations, self._adopted = self._hold(durations), True
        return self._durations

    def _hold(self, durations: Durations) -> Durations:
        given = {name: self._arguments[name] for name in ("dispatch_timeout", "lease")}
        kept = {name: value for name, value in given.items() if value is not None}
        if self._arguments["retention"] != "default":
            kept["retention"] = self._arguments["retention"]
        held = replace(durations, **kept)
        self._dispatch_timeout = _microseconds(held.dispatch_timeout)
        self._lease = _microseconds(held.lease)
        self._retention = 0 if held.retention is None else _microseconds(held.retention)
        return held

    def now(self) -> int:
        with self._reached():
            seconds, micros = self._connections.call("TIME", fits=is_texts)
        return int(seconds) * 1_000_000 + int(micros)

    def create(self, run: NewRun) -> Sequence[DispatchStep]:
        try:
            return self._create(run)
        except StorageError as error:
            # Without a cause it was the script that refused it: what comes too late is not done.
            if not isinstance(error.__cause__, RedisError) or was_not_done(error.__cause__):
                error.stored = False
            raise

    def _create(self, run: NewRun) -> Sequence[DispatchStep]:
        edges = Edges.of_start(run)
        if edges is None:
            return self._created(run)
        self._created(replace(run, firsts=()), settling=edges.lay_by(self._call, fence=None))
        progress = Progress(edges)
        with suppress(StorageError):  # it is stored, and so accepted: the scheduler goes on with it
            progress.settle(self._settling(edges, run.operation))
        return progress.dispatches

    def _created(self, run: NewRun, *, settling: str | None = None) -> Sequence[DispatchStep]:
        prepared = [first.prepared_message for first in run.firsts if first.prepared_message is not None]
        lists = sorted({prepared_message.list for prepared_message in prepared})
        firsts: list[list[object]] = []
        for first in run.firsts:
            place = (
                []
                if first.prepared_message is None
                else [lists.index(first.prepared_message.list) + 1, prepared.index(first.prepared_message) + 1]
            )
            firsts.append([first.step, replies.whole(first.max_attempts), *place])
        reply = self._call(
            "create",
            run.run_id,
            replies.parameters(
                run_id=run.run_id,
                id=run.instance_id,
                name=run.name,
                family=run.family,
                version=str(run.version),
                scope=run.scope,
                tags=list(run.tags),
                firsts=firsts,
                schema=run.schema,
                lanes={first.step: first.lane for first in run.firsts if first.lane is not None} or None,
                dispatch_timeout=self._dispatch_timeout,
                headers=run.message_headers,
                settling=settling,
            ),
            run.header,
            run.initial,
            *(first.config or "" for first in run.firsts),
            *(prepared_message.text for prepared_message in prepared),
            lists=lists,
        )
        match reply:
            case b"posted":
                return ()
            case b"ok":
                return [DispatchStep(first.step, 1, 1) for first in run.firsts]
            case _:
                holder, family, scope = (part.decode() for part in cast("list[bytes]", reply))
                raise already_running(run, holder, family=family, scope=scope)

    def claim(self, request: ClaimRequest) -> Claim | Refusal:
        reply = self._call(
            "claim",
            request.run_id,
            replies.parameters(
                run_id=request.run_id,
                workflow=request.workflow,
                step=request.step,
                attempt=request.attempt,
                fence=request.fence,
                schema=request.schema,
                versions=[str(version) for version in request.versions],
                limit=request.limit,
                holder=request.holder,
                worker=request.worker,
                lane=request.lane,
                token=request.token,
                lease=self._lease,
                dispatch_timeout=self._dispatch_timeout,
            ),
            *request.predecessors[:_MOST_CARRIED],
        )
        with reading(request.run_id):
            if isinstance(reply, list):
                reason, detail = cast("list[bytes]", reply)
                return Refusal(reason=Refused(reason.decode()), detail=detail.decode())
            return replies.read_claim(reply, run_id=request.run_id, step=request.step)

    def commit(self, commit: Complete | Suspend | Retry | Fail) -> Commitment:
        match commit:
            case Complete():
                return self._complete(commit)
            case Suspend():
                reply = self._suspend(commit)
            case Retry():
                reply = self._retry(commit)
            case Fail():
                reply = self._call(
                    "fail",
                    commit.run_id,
                    replies.parameters(
                        run_id=commit.run_id,
                        op=commit.operation,
                        step=commit.step,
                        fence=commit.fence,
                        retention=self._retention,
                    ),
                    commit.entry,
                    commit.failure,
                )
        with reading(commit.run_id):
            return replies.read_commitment(
                reply, run_id=commit.run_id, step=commit.step, states=lambda: self._scan_states(commit.run_id)
            )

    def renew(self, leases: Sequence[Lease]) -> Sequence[bool]:
        by_prefix: dict[str, list[int]] = {}
        for position, lease in enumerate(leases):
            by_prefix.setdefault(self.keys.of_run(lease.run_id).prefix, []).append(position)
        held = [False] * len(leases)
        slices = (
            (prefix, positions[start : start + _MOST_LEASES])
            for prefix, positions in by_prefix.items()
            for start in range(0, len(positions), _MOST_LEASES)
        )
        for prefix, positions in slices:
            rows = [[leases[i].run_id, leases[i].step, leases[i].fence] for i in positions]
            reply = self._call_partition("renew", prefix, replies.parameters(leases=rows, lease=self._lease))
            for position, answer in zip(positions, reply, strict=True):
                held[position] = answer == 1
        return held

    def seize(
        self, run_id: str, step: str, *, attempt: int, holder: str, fence: str, entry: str, overran: bool = False
    ) -> int | None:
        parameters = replies.parameters(
            run_id=run_id,
            step=step,
            attempt=attempt,
            holder=holder,
            fence=fence,
            lease=self._lease,
            overran=overran or None,
        )
        verdict, sequence = self._call("seize", run_id, parameters, entry)
        return int(sequence) if verdict == b"applied" else None

    def schedule(self, run_id: str, step: str, *, reference: str, delay: int) -> bool:
        parameters = replies.parameters(run_id=run_id, step=step, reference=reference, delay=delay)
        return bool(self._call("schedule", run_id, parameters))

    def unschedule(self, run_id: str, step: str, *, reference: str, operation: str) -> bool:
        parameters = replies.parameters(run_id=run_id, step=step, reference=reference, op=operation)
        return bool(self._call("unschedule", run_id, parameters))

    def tick(self, partition: int, *, owner: str, worker: str, seize: bool) -> Tick:
        prefix = self.keys.partition(partition)
        lock = self._locks.setdefault((prefix, owner), SchedulerLock())
        try:
            operation, reply = self._tick(prefix, lock, owner=owner, worker=worker, seize=seize)
        except StorageError:
            lock.forget()
            raise
        if reply[0] == b"other":
            lock.observe(reply[1].decode())
            return Tick(held=False)
        lock.acquire(operation)
        self._clock(prefix).learn(steady=int(reply[1]), offset=int(reply[2]))
        return replies.read_tick(reply)

    def _tick(
        self, prefix: str, lock: SchedulerLock, *, owner: str, worker: str, seize: bool
    ) -> tuple[str, list[bytes]]:
        # Where attempts may be taken from their workers, what comes a little late is not done either: the store was
        # silent in between, and they could not give a sign of life.
        patience = min(self._patience, max(self._lease // 6, _HASTY)) if seize else self._patience
        steady = self._clock(prefix)
        for stepped in (False, True):
            operation = secrets.token_hex(8)
            parameters = replies.parameters(
                owner=owner,
                worker=worker,
                op=operation,
                schema=SCHEMA,
                acknowledged=lock.acknowledged,
                evict=lock.expired_beat,
                stepped=stepped or None,
                seize=seize or None,
                fence=secrets.token_hex(8),
                limit=_TICK,
                lease=self._lease,
                dispatch_timeout=self._dispatch_timeout,
            )
            reply = self._call_partition("tick", prefix, parameters, patience=patience)
            if reply[0] != b"late":
                return operation, reply
            with self._reached():
                steady.look()
            if not steady.astray:
                break
        raise StorageError("the state store was silent for a while, and took too late what the scheduler asked of it")

    def resend(
        self, partition: int, lost: Mapping[Outstanding, str | None], *, lane: str, operation: str, worker: str
    ) -> Sequence[DueEntry]:
        rows = [
            [message.run_id, message.dispatch.step, message.dispatch.attempt, message.dispatch.token, goes or ""]
            for message, goes in lost.items()
        ]
        reply = self._call_partition(
            "resend",
            self.keys.partition(partition),
            replies.parameters(
                messages=rows,
                op=operation,
                schema=SCHEMA,
                lane=lane,
                worker=worker,
                dispatch_timeout=self._dispatch_timeout,
            ),
        )
        return replies.read_entries(reply)

    def redirect(self, sent: Sequence[Sent]) -> None:
        by_prefix: dict[str, list[list[str | int]]] = {}
        for each in sent:
            row = [each.run_id, each.dispatch.step, each.dispatch.attempt, each.dispatch.token, each.lane]
            by_prefix.setdefault(self.keys.of_run(each.run_id).prefix, []).append(row)
        for prefix, rows in by_prefix.items():
            for start in range(0, len(rows), _MOST_LEASES):
                parameters = replies.parameters(
                    messages=rows[start : start + _MOST_LEASES],
                    dispatch_timeout=self._dispatch_timeout,
                    schema=SCHEMA,
                )
                self._call_partition("redirect", prefix, parameters)

    def outstanding(self, *lanes: str) -> int:
        with self._reached():
            asked = [("ZCARD", f"{prefix}lane:{lane}") for prefix in self.keys.all_partitions() for lane in lanes]
            return sum(self._connections.call_many(asked, fits=is_number))

    def report(self, worker: str, holdings: str | None, *, lifetime: int) -> None:
        self._call_partition(
            "report", self.keys.partition(0), replies.parameters(lifetime=lifetime), worker, holdings or ""
        )

    def reports(self) -> Sequence[str]:
        return [report.decode() for report in self._call_partition("reports", self.keys.partition(0), "{}")]

    def resign(self, *, owner: str) -> None:
        for prefix in self.keys.all_partitions():
            self._call_partition("resign", prefix, replies.parameters(owner=owner))

    def await_due(self, *, timeout: float) -> bool:
        with self._reached():
            if self._bell is None:
                self._bell = self._hung_bell()
                return True  # what was set before could not be heard
            heard = _listen(self._bell, timeout)
            while heard and _listen(self._bell, 0):
                pass  # however often it rang: one look is enough
            return heard

    def separate(self) -> RedisStorage:
        held = self._durations
        arguments = dict(self._arguments)
        arguments.update(dispatch_timeout=held.dispatch_timeout, lease=held.lease, retention=held.retention)
        return RedisStorage(**arguments)

    def deliver(self, delivery: Delivery) -> DeliveryReport:
        report = self._deliver(delivery, among=None)
        if report is None:  # the run has many steps, and the store does not look at all of them in one call
            states = self._scan_states(delivery.run_id).items()
            waiting = [key for key, state in states if state.can_wait and delivery.name in state.accepts]
            executing = [key for key, state in states if state.status is StepStatus.ACTIVE and state.fence]
            report = self._deliver(delivery, among=[*waiting[:_MOST_WAITING], *executing[:_MOST_WAITING]])
        assert report is not None  # noqa: S101 - it was told where to look
        return report

    def _deliver(self, delivery: Delivery, *, among: Sequence[str] | None) -> DeliveryReport | None:
        reply = self._call(
            "deliver",
            delivery.run_id,
            replies.parameters(
                run_id=delivery.run_id,
                op=delivery.operation,
                name=delivery.name,
                only=delivery.step,
                among=among,
                keep=delivery.keep or None,
                key=delivery.key,
                dispatch_timeout=self._dispatch_timeout,
            ),
            delivery.data,
        )
        return None if replies.is_too_wide(reply) else replies.read_delivery(reply)

    def cancel(self, run_id: str, *, operation: str, reason: str | None, entry: str) -> Cancellation | None:
        reply = self._call(
            "cancel",
            run_id,
            replies.parameters(run_id=run_id, op=operation, schema=SCHEMA, retention=self._retention),
            entry,
            "" if reason is None else json.dumps(reason),
        )
        if reply[0] == b"unknown_run":
            raise InstanceNotFoundError(f"no run {run_id}; it was never started, or its retention is over")
        if reply[0] == b"newer_schema":
            raise written_by_newer(run_id, int(reply[1]))
        if reply[0] == b"stale":
            return None
        with reading(run_id):
            run = replies.read_run(reply[3], start=reply[2], run_id=run_id)
        if run.lacks_steps:
            run = replace(run, steps=self.read_states(run_id), lacks_steps=False)  # they don't move any more
        return replies.read_cancellation(reply, run=run)

    def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        """The states of many steps are read in slices, again where the run moved meanwhile.

        In a run that never rests, a state may be newer than the rest, but for completions: these are known by their number.
        """
        for look in range(_LOOKS):
            run = self._load(run_id, steps or ())
            if run is None or steps is not None or not run.lacks_steps:
                return run
            states = self._scan_states(run_id)
            if look == _LOOKS - 1 or self._sequence(run_id) in (run.sequence, None):
                return replace(run, steps=states, lacks_steps=False)
        raise AssertionError  # the last look gives what it has seen

    def _load(self, run_id: str, steps: Sequence[str]) -> StoredRun | None:
        reply = self._call("load", run_id, replies.parameters(run_id=run_id), *steps[:_MOST_CARRIED])
        with reading(run_id):
            return replies.read_run(reply[1], start=reply[0], run_id=run_id) if reply else None

    def read_initial(self, run_id: str) -> str:
        [text] = self._fields(run_id, ["i"])
        if text is None:
            raise _gone(run_id)
        return text

    def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        if steps is None:
            states = self._scan_states(run_id)
            if not states:
                raise _gone(run_id)
            return states
        texts: dict[str, str] = {}
        for start in range(0, len(steps), _MOST_NAMES):
            asked = steps[start : start + _MOST_NAMES]
            status, *found = self._fields(run_id, ["st", *(f"s:{step}" for step in asked)])
            if status is None:
                raise _gone(run_id)
            texts.update((step, text) for step, text in zip(asked, found, strict=True) if text is not None)
        return replies.read_states(texts)

    def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        position = 0
        while position < len(steps):
            asked = steps[position : position + _MOST_NAMES]
            reply: list[bytes] | None = self._call(
                "data", run_id, replies.parameters(run_id=run_id, kind=kind.value), *asked
            )
            if reply is None:
                raise _gone(run_id)
            position += len(reply)
            with reading(run_id):
                found.update((step, text.decode()) for step, text in zip(asked, reply, strict=False) if text)
        if kind is DataKind.CONFIG:
            return {step: replies.read_config(text) for step, text in found.items()}
        return found

    def _scan_states(self, run_id: str) -> Mapping[str, StepState]:
        texts: dict[str, str] = {}
        cursor = "0"
        while True:
            with self._reached():
                key = self.keys.of_run(run_id).run
                following, page = self._connections.call(
                    "HSCAN", key, cursor, "MATCH", "s:*", "COUNT", _MOST_NAMES, fits=_is_scan
                )
            with reading(run_id):
                names = (name.decode()[2:] for name in page[::2])
                texts.update(zip(names, (text.decode() for text in page[1::2]), strict=True))
            cursor = following.decode()
            if cursor == "0":
                return replies.read_states(texts)

    def _sequence(self, run_id: str) -> int | None:
        [sequence] = self._fields(run_id, ["seq"])
        return None if sequence is None else int(sequence)

    def _fields(self, run_id: str, names: Sequence[str]) -> list[str | None]:
        with self._reached():
            values = self._connections.call("HMGET", self.keys.of_run(run_id).run, *names, fits=is_values)
        with reading(run_id):
            return [None if value is None else value.decode() for value in values]

    def candidates(self, instance_id: str, *, family: str | None) -> Candidates:
        prefix = self.keys.of_instance(instance_id)
        after = at = None
        while True:
            reply = self._call_partition(
                "candidates", prefix, replies.parameters(id=instance_id, family=family, after=after, at=at)
            )
            newest, after, at, *active = (text.decode() for text in reply)
            if not after:
                return Candidates(active=active, newest=newest or None)

    def history(self, run_id: str) -> Sequence[StoredEntry]:
        found: list[StoredEntry] = []
        while True:  # nothing is ever put in between, or taken out
            with self._reached():
                key, start = self.keys.of_run(run_id).history, len(found)
                lines = self._connections.call("LRANGE", key, start, start + _PAGE - 1, fits=is_texts)
            with reading(run_id):
                found.extend(replies.read_entry(line) for line in lines)
            if len(lines) < _PAGE:
                return found

    def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
        """With several partitions, the pages of all of them are merged by start."""
        if query.id is not None:
            return self._list_partition(self.keys.of_instance(query.id), query)
        found: list[tuple[str, RunSummary]] = []
        more = False
        for prefix in self.keys.all_partitions():
            runs, cursor = self._list_partition(prefix, query)
            found.extend(runs)
            more = more or cursor is not None
        found.sort(key=lambda item: (item[1].started_at, item[0]), reverse=True)
        page = found[: query.limit]
        more = more or len(found) > query.limit
        return page, f"{page[-1][1].started_at}:{page[-1][0]}" if more and page else None

    def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        with self._reached():
            return self._endings.wait(run_id, timeout=timeout)

    def _ended(self, run_ids: Sequence[str]) -> list[bool]:
        found = self._connections.call_many(
            [("HMGET", self.keys.of_run(run_id).run, "st") for run_id in run_ids], fits=is_values
        )
        return [status is None or Status(status.decode()).final for [status] in found]

    def close(self) -> None:
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        self._endings.close()
        self._connections.close()
        self._client.close()

    def _hung_bell(self) -> Any:
        bell: Any = self._client.pubsub(ignore_subscribe_messages=True)  # pyright: ignore[reportUnknownMemberType] - untyped in redis-py
        bell.subscribe(*(f"{prefix}wake" for prefix in self.keys.all_partitions()))
        for _ in range(self.partitions):
            bell.get_message(timeout=1.0)  # the server has it: nothing is missed from here on
        return bell

    def _complete(self, commit: Complete) -> Commitment:
        edges = Edges.of_commit(commit)
        if edges is None:
            return self._completed(commit)
        bare = replace(commit, settlement=_NOTHING, attempts={}, configs={}, prepared={}, lanes={})
        settling = edges.lay_by(self._call, fence=commit.fence)
        commitment = self._completed(bare, settling=settling)
        if commitment.verdict is not Verdict.APPLIED:
            return commitment
        progress = Progress(edges)
        progress.settle(self._settling(edges, commit.operation))
        return progress.end(commitment)

    def settle(self, run_id: str, step: str) -> Commitment:
        nothing = Edges(run_id=run_id, source=step, taken=(), rows={}, attempts={}, lanes={})
        commitment, _ = self._settling(nothing, secrets.token_hex(8), at_once=True)("", {})
        return commitment

    def _settling(
        self, edges: Edges, operation: str, *, at_once: bool = False
    ) -> Callable[[str, Mapping[str, PreparedMessage]], tuple[Commitment, replies.Slice | None]]:
        def ask(number: str, prepared: Mapping[str, PreparedMessage]) -> tuple[Commitment, replies.Slice | None]:
            lists, places = _places(prepared)
            reply = self._call(
                "settle",
                edges.run_id,
                replies.parameters(
                    run_id=edges.run_id,
                    op=f"{operation}{number}",
                    source=edges.source,
                    limit=SLICE,
                    at_once=at_once or None,
                    prepared=places or None,
                    dispatch_timeout=self._dispatch_timeout,
                    retention=self._retention,
                ),
                *(prepared_message.text for prepared_message in prepared.values()),
                lists=lists,
            )
            with reading(edges.run_id):
                return replies.read_slice(reply, run_id=edges.run_id, states=lambda: self._scan_states(edges.run_id))

        return ask

    def _completed(self, commit: Complete, *, settling: str | None = None) -> Commitment:
        configs = [part for item in commit.configs.items() for part in item]
        lists, prepared = _places(commit.prepared)
        reply = self._call(
            "complete",
            commit.run_id,
            replies.parameters(
                run_id=commit.run_id,
                op=commit.operation,
                step=commit.step,
                fence=commit.fence,
                event=commit.event,
                taken=list(commit.settlement.taken),
                dead=list(commit.settlement.dead),
                rows=replies.settlement_rows(commit.settlement),
                **replies.attempts(commit.attempts),
                rank=commit.rank,
                stuck=commit.stuck or None,
                expected=commit.expected,
                configs=len(commit.configs),
                prepared=prepared or None,
                **_lanes(commit),
                dispatch_timeout=self._dispatch_timeout,
                retention=self._retention,
                settling=settling,
            ),
            commit.entry,
            commit.done_entry,
            commit.result or "",
            commit.metadata or "",
            *configs,
            *(prepared_message.text for prepared_message in commit.prepared.values()),
            lists=lists,
        )
        with reading(commit.run_id):
            return replies.read_commitment(
                reply,
                run_id=commit.run_id,
                step=commit.step,
                taken=commit.settlement.taken,
                states=lambda: self._scan_states(commit.run_id),
            )

    def _retry(self, commit: Retry) -> list[bytes]:
        return self._call(
            "retry",
            commit.run_id,
            replies.parameters(
                run_id=commit.run_id, op=commit.operation, step=commit.step, fence=commit.fence, delay=commit.delay
            ),
            commit.entry,
        )

    def _suspend(self, commit: Suspend) -> list[bytes]:
        return self._call(
            "suspend",
            commit.run_id,
            replies.parameters(
                run_id=commit.run_id,
                op=commit.operation,
                step=commit.step,
                fence=commit.fence,
                accepts=dict(commit.accepts),
                names=list(commit.accepts),
                timeout=commit.timeout,
                dispatch_timeout=self._dispatch_timeout,
            ),
            commit.entry,
        )

    def _list_partition(self, prefix: str, query: Query) -> tuple[list[tuple[str, RunSummary]], str | None]:
        found: list[tuple[str, RunSummary]] = []
        position, next_cursor = query.cursor, None
        while True:
            score, _, below = (position or "").partition(":")
            if score and query.started_before is not None and int(score) >= query.started_before:
                score = below = ""
            reply = self._call_partition(
                "list",
                prefix,
                replies.parameters(
                    indexes=indexes(prefix, query),
                    statuses=dict.fromkeys(query.statuses, True),
                    name=query.name,
                    family=query.family,
                    version=None if query.version is None else str(query.version),
                    id=query.id,
                    tag=query.tag,
                    min="-inf" if query.started_after is None else f"({query.started_after}",
                    max=score or ("+inf" if query.started_before is None else f"({query.started_before}"),
                    below=below,
                    limit=min(_ROWS, query.limit - len(found)),
                    budget=_BUDGET,
                ),
            )
            position, more = reply[0].decode() or None, reply[1] == b"more"
            found.extend(_read_row(row) for row in reply[2:])
            if len(found) == query.limit:
                # The page is full, but the script may have stopped to look before it knew whether another one follows.
                next_cursor = next_cursor or position
                if more:
                    return found, next_cursor
            if position is None:
                return found, None

    def _call(self, script: str, run_id: str, parameters: str, *data: str, lists: Sequence[str] = ()) -> Any:
        # The lists of a broker are keys of the script: a user who may not touch them is refused before anything is done.
        keys = self.keys.of_run(run_id)
        return self._ask(script, keys.prefix, [*keys.names, *lists], parameters, *data, run_id=run_id)

    def _call_partition(
        self, script: str, prefix: str, parameters: str, *data: str, patience: int | None = None
    ) -> Any:
        # The keys only tell a cluster which node is meant; those of a run are of no use here.
        return self._ask(script, prefix, [f"{prefix}due"] * 5, parameters, *data, patience=patience)

    def _ask(
        self,
        script: str,
        prefix: str,
        keys: list[str],
        parameters: str,
        *data: str,
        patience: int | None = None,
        run_id: str | None = None,
    ) -> Any:
        with self._reached():
            if script in _TIMELESS:
                return self._scripts.call(self._connections, script, keys, [prefix, parameters, *data], run_id=run_id)
            steady = self._clock(prefix)
            for _ in range(2):
                with _unsent():
                    now, offset = steady.now()
                timed = replies.timed(
                    parameters,
                    now=now,
                    offset=offset,
                    patience=patience or self._patience,
                    punctual=script in _PUNCTUAL,
                )
                reply = self._scripts.call(self._connections, script, keys, [prefix, timed, *data], run_id=run_id)
                if reply != b"late":
                    return reply
                steady.look()  # nothing was done; the server's clock may have been set
        raise StorageError("the state store took the call too late, and did nothing; try again")

    def _clock(self, prefix: str) -> SteadyClock:
        if prefix not in self._clocks:
            self._clocks[prefix] = SteadyClock(lambda: self._read_clock(prefix))
        return self._clocks[prefix]

    def _read_clock(self, prefix: str) -> Reading:
        (offset, beat), (seconds, micros) = self._connections.call_many(
            [("HMGET", f"{prefix}seat", "offset", "beat"), ("TIME",)], fits=is_values
        )
        return Reading(
            time=int(seconds) * 1_000_000 + int(micros),
            offset=int(offset or 0),
            beat=None if beat is None else int(beat),
        )

    @contextmanager
    def _reached(self) -> Generator[None, None, None]:
        try:
            yield
        except RedisError as error:
            raise StorageError(explain(error), transient=is_transient(error)) from error
        except UnicodeEncodeError as error:
            raise DataError(
                f"the store can't be asked for that: {shown(error.object)} holds a lone surrogate"
            ) from error


@contextmanager
def _unsent() -> Generator[None, None, None]:
    # What fails here has kept a call from being sent; see ``Connections.call``.
    try:
        yield
    except RedisError as error:
        vars(error)["sent"] = 0
        raise


def _read_row(row: Sequence[bytes]) -> tuple[str, RunSummary]:
    run_id = row[0].decode(errors="replace")
    with reading(run_id):
        return run_id, replies.read_summary(row[2], start=row[1], run_id=run_id)


def _is_scan(reply: Any) -> bool:
    match reply:
        case [bytes(), page]:
            return is_texts(page)
        case _:
            return False


def _listen(listener: Any, patience: float) -> bool:
    return listener.get_message(timeout=patience) is not None


_NOTHING = Settlement(taken=(), dead=(), rows={})


def _places(prepared: Mapping[str, PreparedMessage]) -> tuple[list[str], dict[str, list[int]]]:
    # The lists of messages, and by key of a step the number of its list and of its message.
    lists = sorted({prepared_message.list for prepared_message in prepared.values()})
    numbered = enumerate(prepared.items(), 1)
    return lists, {
        key: [lists.index(prepared_message.list) + 1, position] for position, (key, prepared_message) in numbered
    }


def _lanes(commit: Complete) -> dict[str, object]:
    # Mostly all are one, which is said once.
    lanes = commit.lanes
    common = next(iter(lanes.values()), None) if lanes.keys() >= commit.settlement.rows.keys() - {Done.key} else None
    others = {key: lane for key, lane in lanes.items() if lane != common}
    return {"lane": common, "lanes": others or None}


def _gone(run_id: str) -> InstanceNotFoundError:
    return InstanceNotFoundError(f"no run {run_id}; it was never started, or its retention is over")


def _microseconds(duration: timedelta) -> int:
    return min(duration, timedelta(seconds=FOREVER)) // timedelta(microseconds=1)
