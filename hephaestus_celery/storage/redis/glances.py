"""Glances at a Redis store: some short round trips each, whose commands and bytes do not grow with what is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.glances import Advance, Advances
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.connections import Command

SAMPLE = 100
"""Runs that are looked at of those which run, and of those which have ended in each way, in each partition."""
_FINAL = tuple(status for status in Status if status.final)


class Glances:
    """Looks at one store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def counts(self) -> Mapping[Status, int]:
        """How many runs there are in each status."""
        found = dict.fromkeys(Status, 0)
        for prefix in self._calls.keys.all_partitions():
            sizes = self._ask([("ZCARD", _index(prefix, status)) for status in Status])
            for status, size in zip(Status, sizes, strict=True):
                found[status] += size
        return found

    def advances(self, known: Collection[str], *, since: int | None) -> Advances:
        """How far runs have come: the ``known`` ones, the newest that run, and the newest that were started ``since`` and ended.

        Without ``since``, of those that have ended the newest alone: from there on the next glance may go.
        """
        running = ended = looked_at = 0
        names = set(known)
        for prefix in self._calls.keys.all_partitions():
            counts, found = self._newest(prefix, since)
            running, ended = running + counts[0], ended + sum(counts[1:])
            names.update(name.decode() for name in found[0])
            finals = {name.decode() for group in found[1:] for name in group}
            looked_at += len(finals)
            names.update(finals)
        return Advances(running=running, ended=ended, ended_looked_at=looked_at, runs=dict(self._read(sorted(names))))

    def _newest(self, prefix: str, since: int | None) -> tuple[list[int], list[list[bytes]]]:
        low, many = ("-inf", 1) if since is None else (f"({since}", SAMPLE)
        commands: list[Command] = [
            ("ZCARD", _index(prefix, Status.RUNNING)),
            *(("ZCOUNT", _index(prefix, status), low, "+inf") for status in _FINAL),
            ("ZRANGE", _index(prefix, Status.RUNNING), 0, SAMPLE - 1, "REV"),
            *(("ZRANGE", _index(prefix, status), "+inf", low, "BYSCORE", "REV", "LIMIT", 0, many) for status in _FINAL),
        ]
        replies = self._ask(commands)
        middle = len(commands) // 2
        return replies[:middle], replies[middle:]

    def _read(self, run_ids: list[str]) -> Iterator[tuple[str, Advance]]:
        asked: dict[str, list[str]] = {}
        for run_id in run_ids:
            asked.setdefault(self._calls.keys.of_run(run_id).prefix, []).append(run_id)
        for prefix, names in asked.items():
            commands: list[Command] = [("HMGET", f"{prefix}run:{name}", "t0", "adv", "st") for name in names]
            for name, (started, advanced, status) in zip(names, self._ask(commands), strict=True):
                if started is not None and advanced is not None and status is not None:  # it may be gone
                    yield (
                        name,
                        Advance(
                            started_at=int(started),
                            completed=max(0, int(advanced) - 1),  # its start is an advance, too
                            final=Status(status.decode()).final,
                        ),
                    )

    def _ask(self, commands: list[Command]) -> list[Any]:
        return self._calls.commands(commands, fits=lambda reply: reply is not None)


def _index(prefix: str, status: Status) -> str:
    return f"{prefix}index:status:{status}"
