"""Examines a Redis store for the command line: only reads, in many short commands, and all of it in bounded time.

No command holds the server for more than some hundred microseconds, however much is stored.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from redis.exceptions import NoPermissionError

from hephaestus_celery.clock import Clock
from hephaestus_celery.core.values.lifecycle import LIVE, Status
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.examination import (
    ActiveRuns,
    CountedRuns,
    KeyCensus,
    RecentRuns,
    SchedulerFacts,
    ServerFacts,
)
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.connections import Command
from hephaestus_celery.storage.redis.framing import named
from hephaestus_celery.storage.redis.key_catalogue import CATALOGUE
from hephaestus_celery.storage.redis.parameters import as_parameters

SLICE = 500  # members or keys that one command reads
TALLY = 400  # runs that one call counts: about a millisecond
SUSPECTS = 1000  # runs whose steps are read, since nothing of them was due
SHOWN = 10
_SECOND = 1_000_000
_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OF_RUNS = tuple(kind.pattern.partition("<")[0] for kind in CATALOGUE if "<run_id>" in kind.pattern)
_OF_ALL = tuple(kind.pattern.partition("<")[0] for kind in CATALOGUE if "<run_id>" not in kind.pattern)


class Examination:
    """Examines one storage; each part stops after ``seconds``, and says how far it has come."""

    def __init__(self, calls: Calls, *, clock: Clock, seconds: float = 5.0) -> None:
        self._calls, self._clock, self._seconds = calls, clock, seconds

    def server(self) -> ServerFacts:
        """What the server says of itself. ``StorageError`` if it is out of reach."""
        before = self._clock.time_ns() // 1000
        seconds, micros = self._calls.command("TIME", fits=_is_list)
        after = self._clock.time_ns() // 1000
        ahead = int(seconds) * _SECOND + int(micros) - (before + after) // 2
        clocks: dict[str, Any] = {"ahead": ahead / _SECOND, "unsure": (after - before) / 2 / _SECOND}
        try:
            said = _lines(self._calls.command("INFO", fits=_is_text))
        except StorageError as error:
            if not isinstance(error.__cause__, NoPermissionError):
                raise
            return ServerFacts(**clocks, described=False)
        return ServerFacts(
            **clocks,
            software="valkey" if "valkey_version" in said else "redis",
            version=said.get("valkey_version") or said.get("redis_version", ""),
            append_only=said.get("aof_enabled") == "1",
            write_failure=_write_failure(said),
            eviction_policy=said.get("maxmemory_policy", "noeviction"),
            evicted=int(said.get("evicted_keys", 0)),
            used=int(said.get("used_memory", 0)),
            limit=int(said.get("maxmemory", 0)),
            machine=int(said.get("total_system_memory", 0)),
        )

    def schedulers(self) -> Sequence[SchedulerFacts]:
        """Who holds the scheduler lock of each partition, and what is due."""
        return [self._scheduler(number, prefix) for number, prefix in enumerate(self._calls.keys.all_partitions())]

    def _scheduler(self, number: int, prefix: str) -> SchedulerFacts:
        (owner, beat, offset), (seconds, micros), due, first = self._calls.commands(
            [
                ("HMGET", f"{prefix}seat", "owner", "beat", "offset"),
                ("TIME",),
                ("ZCARD", f"{prefix}due"),
                ("ZRANGE", f"{prefix}due", 0, 0, "WITHSCORES"),
            ],
            fits=_is_anything,
        )
        steady = int(seconds) * _SECOND + int(micros) + int(offset or 0)
        return SchedulerFacts(
            partition=number,
            owner=None if owner is None else owner.decode(),
            silent=None if owner is None or beat is None else max(0, steady - int(beat)) / _SECOND,
            due=due,
            overdue=max([0.0, *((steady - at) / _SECOND for _, at in _scored(first))]),
        )

    def active_runs(self) -> ActiveRuns:
        """The active runs by workflow, version and status; those that have work to do, and for which nothing is due."""
        end = self._end()
        kinds: Counter[tuple[str, int, str]] = Counter()
        oldest: dict[str, int] = {}
        suspects: list[tuple[str, str]] = []
        total = 0
        for prefix in self._calls.keys.all_partitions():
            total += sum(
                self._calls.commands([("ZCARD", _index(prefix, status)) for status in LIVE], fits=_is_anything)
            )
            runs = self._read_active(prefix, kinds, oldest, end)
            moving = self._moving(prefix, end)
            if moving is not None:
                suspects.extend((prefix, run) for run in runs if run not in moving)
        idle = [run for prefix, run in suspects[:SUSPECTS] if not self._over(end) and self._is_idle(prefix, run)]
        return ActiveRuns(total=total, looked_at=sum(kinds.values()), kinds=kinds, idle=idle, oldest=oldest)

    def _read_active(
        self, prefix: str, kinds: Counter[tuple[str, int, str]], oldest: dict[str, int], end: int
    ) -> list[str]:
        found: list[str] = []
        for status in sorted(LIVE):
            for members in self._slices(_index(prefix, status), end):
                run_ids = [member.decode() for member, _ in members]
                asked = [("HMGET", f"{prefix}run:{run_id}", "name", "version", "st") for run_id in run_ids]
                oldest[status] = min(oldest.get(status, members[0][1]), members[0][1])
                for run_id, (name, version, stands) in zip(
                    run_ids, self._calls.commands(asked, fits=_is_list), strict=True
                ):
                    if name is not None and stands is not None and stands.decode() == status:
                        kinds[name.decode(), int(version), status] += 1
                        found.append(run_id)
        return found

    def _moving(self, prefix: str, end: int) -> set[str] | None:
        # The runs of which something is due, or a message is on its way; None if there was no time to read them all.
        found: set[str] = set()
        lanes = self._calls.command("ZRANGE", f"{prefix}lanes", 0, -1, fits=_is_list)
        for key in [f"{prefix}due", *(f"{prefix}lane:{lane.decode()}" for lane in lanes)]:
            for members in self._slices(key, end):
                for member, _ in members:
                    run_id, _, rest = member.decode(errors="replace").partition("|")
                    if not rest.startswith("|"):  # that is the watch over the run, which it has anyway
                        found.add(run_id)
        return None if self._over(end) else found

    def _is_idle(self, prefix: str, run_id: str) -> bool:
        # Read anew: it may have moved on since. A step that waits for an event needs nothing that is due.
        key = f"{prefix}run:{run_id}"
        before, fields = self._calls.commands([("HGET", key, "st"), ("HKEYS", key)], fits=_is_anything)
        steps = [field.decode() for field in fields if field.startswith(b"s:")][:SLICE]
        if not steps or any(field.startswith(b"g:") for field in fields):
            return False
        wanted: list[tuple[str, str]] = []
        for name, text in zip(steps, self._calls.command("HMGET", key, *steps, fits=_is_list), strict=True):
            state = json.loads(text or b"{}")
            if state.get("s") == "active" or (state.get("s") == "waiting" and state.get("r")):
                wanted.extend(_places(prefix, run_id, name[2:], state))
        if before not in (b"pending", b"running", b"waiting") or (before == b"waiting" and not wanted):
            return False
        asked: list[Command] = [("ZSCORE", *place) for place in wanted]
        *scores, after = self._calls.commands([*asked, ("HGET", key, "st")], fits=_is_anything)
        return after == before and all(score is None for score in scores)

    def runs(self, statuses: Collection[Status] = tuple(Status)) -> CountedRuns:
        """The runs in these statuses by workflow, version and status: counted in the store, some hundred in each call."""
        end = self._end()
        kinds: Counter[tuple[str, int, str]] = Counter()
        total = looked_at = 0
        for prefix in self._calls.keys.all_partitions():
            for status in statuses:
                index, first = _index(prefix, status), 0
                size = self._calls.command("ZCARD", index, fits=_is_anything)
                total += size
                while first < size and not self._over(end):
                    asked = as_parameters(index=index, first=first, many=TALLY)
                    found = named(self._calls.of_partition("tally", prefix, asked))
                    counts: dict[str, int] = json.loads(found["counts"])
                    for kind, count in counts.items():
                        version, _, name = kind.partition(" ")
                        kinds[name, int(version), str(status)] += count
                    looked_at += min(int(found["entries"]), size - first)
                    first += TALLY
        return CountedRuns(total=total, looked_at=looked_at, kinds=kinds)

    def recent(self, *, seconds: int) -> RecentRuns:
        """Runs that began in the last seconds: what the indexes say."""
        since = (self._clock.time_ns() // 1000) - seconds * _SECOND
        prefixes = self._calls.keys.all_partitions()
        counts = {
            status: sum(
                self._calls.commands(
                    [("ZCOUNT", _index(prefix, status), since, "+inf") for prefix in prefixes], fits=_is_anything
                )
            )
            for status in Status
        }
        return RecentRuns(
            started=sum(counts.values()), ended=sum(count for status, count in counts.items() if status.final)
        )

    def oldest_waiting(self) -> int | None:
        """When the oldest run began of those that wait; None if none waits."""
        asked = [
            ("ZRANGE", _index(prefix, Status.WAITING), 0, 0, "WITHSCORES")
            for prefix in self._calls.keys.all_partitions()
        ]
        found = [at for reply in self._calls.commands(asked, fits=_is_list) for _, at in _scored(reply)]
        return min(found, default=None)

    def lanes(self) -> dict[str, int]:
        """The lanes in which messages wait, and how many nobody has claimed."""
        found: Counter[str] = Counter()
        for prefix in self._calls.keys.all_partitions():
            names = [lane.decode() for lane in self._calls.command("ZRANGE", f"{prefix}lanes", 0, -1, fits=_is_list)]
            counts = (
                self._calls.commands([("ZCARD", f"{prefix}lane:{name}") for name in names], fits=_is_anything)
                if names
                else []
            )
            found.update(dict(zip(names, counts, strict=True)))
        return dict(found)

    def keys(self) -> KeyCensus | None:
        """The keys of the namespace that have no lifetime, and that neither a run owns nor the catalogue explains.

        None if the user of the store may not ask for them.
        """
        try:
            return self._keys()
        except StorageError as error:
            if not isinstance(error.__cause__, NoPermissionError):
                raise
            return None

    def _keys(self) -> KeyCensus:
        end = self._end()
        strays: list[str] = []
        looked_at = 0
        cursor = "0"
        namespace = re.sub(r"([*?\[\]\\])", r"\\\1", self._calls.keys.namespace)
        while True:
            cursor_read, names = self._calls.command(
                "SCAN", cursor, "MATCH", f"{namespace}:*", "COUNT", SLICE, fits=_is_list
            )
            cursor = cursor_read.decode()
            looked_at += len(names)
            strays.extend(self._strays([name.decode(errors="replace") for name in names]))
            if cursor == "0" or self._over(end):
                return KeyCensus(looked_at=looked_at, complete=cursor == "0", strays=strays[:SUSPECTS])

    def _strays(self, names: Sequence[str]) -> list[str]:
        owners = {name: _owner(name, self._calls.keys.all_partitions()) for name in names}
        asked = [name for name, owner in owners.items() if owner is None or owner]
        commands: list[Command] = []
        for name in asked:
            commands.append(("PTTL", name))
            commands.append(("EXISTS", owners[name] or name))
        replies = iter(self._calls.commands(commands, fits=_is_anything) if commands else ())
        found: list[str] = []
        for name in asked:
            left, owned = next(replies), next(replies)
            if left == -1 and (owners[name] is None or not owned):
                found.append(name)
        return found

    def _slices(self, key: str, end: int) -> Iterator[list[tuple[bytes, int]]]:
        # By score and rank: what is added or taken meanwhile may be missed, or met twice.
        position = 0
        while not self._over(end):
            reply = self._calls.command("ZRANGE", key, position, position + SLICE - 1, "WITHSCORES", fits=_is_list)
            members = _scored(reply)
            if members:
                yield members
            if len(members) < SLICE:
                return
            position += SLICE

    def _end(self) -> int:
        return self._clock.monotonic_ns() + int(self._seconds * 1e9)

    def _over(self, end: int) -> bool:
        return self._clock.monotonic_ns() > end


def _owner(name: str, prefixes: Sequence[str]) -> str | None:
    # The key of the run that owns this key; empty if it needs none, None if no key has such a name.
    prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
    if prefix is None:
        return None
    rest = name[len(prefix) :]
    for kind in _OF_RUNS:
        if rest.startswith(kind):
            found = _RUN_ID.match(rest[len(kind) :])
            return f"{prefix}run:{found[0]}" if found and kind != "run:" else "" if found else None
    known = any(rest == kind or (kind.endswith(":") and rest.startswith(kind)) for kind in _OF_ALL)
    return "" if known else None


def _places(prefix: str, run_id: str, step: str, state: dict[str, Any]) -> list[tuple[str, str]]:
    # Where the entry of a step may be: in the due set, or in the lane of its message.
    keys = [f"{prefix}due", *([f"{prefix}lane:{state['k']}"] if "k" in state else [])]
    return [(key, f"{run_id}|{step}") for key in keys]


def _index(prefix: str, status: str) -> str:
    return f"{prefix}index:status:{status}"


def _scored(reply: Any) -> list[tuple[bytes, int]]:
    # Members with their scores: pairs in one protocol, a flat list in the other.
    pairs = reply if reply and type(reply[0]) is list else zip(reply[::2], reply[1::2], strict=True)
    return [(member, int(score)) for member, score in pairs]


def _lines(info: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in info.decode(errors="replace").splitlines() if not line.startswith("#"))
    return {name: value.strip() for name, separator, value in pairs if separator}


def _write_failure(said: dict[str, str]) -> str | None:
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if said.get(name, "ok") != "ok":
            return name
    return None


def _is_list(reply: Any) -> bool:
    return type(reply) is list


def _is_text(reply: Any) -> bool:
    return type(reply) is bytes


def _is_anything(reply: Any) -> bool:
    del reply
    return True
