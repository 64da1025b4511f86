"""The scheduler's calls in Redis: ticks of the due set, lost messages, and worker reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.due import DueEntry, Outstanding, Sent, Tick
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.redis import replies
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.framing import named
from hephaestus_celery.storage.redis.parameters import as_parameters, retention_of, stream_of
from hephaestus_celery.storage.redis.scheduler_lock import SchedulerLock
from hephaestus_celery.storage.redis.scripts import is_number
from hephaestus_celery.storage.schema import SCHEMA

_TICK = 100  # entries of the due set that one script call handles, in some milliseconds
_LEAST_SLACK = 250_000  # the least slack of a tick, in microseconds
_MOST_MESSAGES = 100  # the most messages that one call redirects


class Scheduling:
    """Handles, for schedulers, what is due in the partitions of one storage."""

    def __init__(self, calls: Calls, *, clock: Clock, chance: Chance) -> None:
        self._calls, self._clock, self._chance = calls, clock, chance
        self._locks: dict[tuple[str, str], SchedulerLock] = {}

    def tick(self, partition: int, *, owner: str, worker: str, seize: bool, durations: Durations) -> Tick:
        """Handle the entries that are due, if this scheduler holds the scheduler lock or can take it."""
        prefix = self._calls.keys.partition(partition)
        lock = self._locks.setdefault((prefix, owner), SchedulerLock(clock=self._clock))
        try:
            operation, reply = self._tick(prefix, lock, owner=owner, worker=worker, seize=seize, durations=durations)
        except StorageError:
            lock.forget()
            raise
        if reply["verdict"] == b"other":
            lock.observe(reply["beat"].decode())
            return Tick(held=False)
        lock.acquire(operation)
        self._calls.clock(prefix).learn(steady=int(reply["beat"]), offset=int(reply["offset"]))
        return replies.read_tick(reply, lease=durations.lease)

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
        """Send these lost messages of a lane again."""
        rows = [
            [
                message.run_id,
                str(message.dispatch.activation),
                message.dispatch.attempt,
                message.dispatch.token,
                goes or "",
            ]
            for message, goes in lost.items()
        ]
        reply = self._calls.of_partition(
            "resend",
            self._calls.keys.partition(partition),
            as_parameters(
                messages=rows,
                op=operation,
                schema=SCHEMA,
                lane=lane,
                worker=worker,
                dispatch_timeout=durations.dispatch_timeout,
                stream=stream_of(durations),
            ),
        )
        return replies.read_entries(reply, lease=durations.lease)

    def redirect(self, sent: Sequence[Sent], *, durations: Durations) -> None:
        """Record that these messages went to other lanes than expected."""
        by_prefix: dict[str, list[list[str | int]]] = {}
        for each in sent:
            row = [each.run_id, str(each.dispatch.activation), each.dispatch.attempt, each.dispatch.token, each.lane]
            by_prefix.setdefault(self._calls.keys.of_run(each.run_id).prefix, []).append(row)
        for prefix, rows in by_prefix.items():
            for start in range(0, len(rows), _MOST_MESSAGES):
                parameters = as_parameters(
                    messages=rows[start : start + _MOST_MESSAGES],
                    dispatch_timeout=durations.dispatch_timeout,
                    schema=SCHEMA,
                )
                self._calls.of_partition("redirect", prefix, parameters)

    def outstanding(self, *lanes: str) -> int:
        """How many unclaimed messages wait in these lanes."""
        prefixes = self._calls.keys.all_partitions()
        asked = [("ZCARD", f"{prefix}lane:{lane}") for prefix in prefixes for lane in lanes]
        return sum(self._calls.commands(asked, fits=is_number))

    def report(self, worker: str, holdings: str | None, *, lifetime: int) -> None:
        """What a worker holds; None when it leaves."""
        parameters = as_parameters(lifetime=lifetime)
        self._calls.of_partition("report", self._calls.keys.partition(0), parameters, worker, holdings or "")

    def reports(self) -> Sequence[str]:
        """What living workers hold."""
        reply = self._calls.of_partition("reports", self._calls.keys.partition(0), "{}")
        return [report.decode() for report in reply]

    def resign(self, *, owner: str) -> None:
        """Leave the scheduler locks that this owner holds."""
        for prefix in self._calls.keys.all_partitions():
            self._calls.of_partition("resign", prefix, as_parameters(owner=owner))

    def _tick(
        self, prefix: str, lock: SchedulerLock, *, owner: str, worker: str, seize: bool, durations: Durations
    ) -> tuple[str, dict[str, bytes]]:
        # A tick that may seize attempts must not arrive even a little late: the store was silent meanwhile, so workers could
        # not renew their leases.
        longest = self._calls.slack
        slack = min(longest, max(durations.lease // 6, _LEAST_SLACK)) if seize else longest
        steady = self._calls.clock(prefix)
        for stepped in (False, True):
            operation = self._chance.token()
            parameters = as_parameters(
                owner=owner,
                worker=worker,
                op=operation,
                schema=SCHEMA,
                acknowledged=lock.acknowledged,
                evict=lock.expired_beat,
                stepped=stepped or None,
                seize=seize or None,
                fence=self._chance.token(),
                limit=_TICK,
                lease=durations.lease,
                dispatch_timeout=durations.dispatch_timeout,
                retention=retention_of(durations),
                stream=stream_of(durations),
            )
            reply = named(self._calls.of_partition("tick", prefix, parameters, slack=slack))
            if reply["verdict"] != b"late":
                return operation, reply
            with self._calls.reached():
                steady.look()
            if not steady.is_reset:
                break
        raise StorageError(
            "the state store was silent for a while, so a call of the scheduler came too late and was refused"
        )
