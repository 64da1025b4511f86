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
_LOOKED_AT = (Status.RUNNING, *(status for status in Status if status.final))


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

    def advances(self, known: Collection[str], *, over: Mapping[str, Advance]) -> Advances:
        """How far runs have come: the ``known`` ones, the newest that run, and the newest that have ended in each way.

        Those that were ``over`` at a glance before are not read again.
        """
        names = set(known)
        for prefix in self._calls.keys.all_partitions():
            found = self._ask([("ZRANGE", _index(prefix, status), 0, SAMPLE - 1, "REV") for status in _LOOKED_AT])
            names.update(name.decode() for group in found for name in group)
        still_over = {name: over[name] for name in names & over.keys()}
        read = self._read(sorted(names - still_over.keys()))
        return Advances(counts=self.counts(), runs={**still_over, **dict(read)})

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
                            status=Status(status.decode()),
                            completed=max(0, int(advanced) - 1),  # its start is an advance, too
                        ),
                    )

    def _ask(self, commands: list[Command]) -> list[Any]:
        return self._calls.commands(commands, fits=lambda reply: reply is not None)


def _index(prefix: str, status: Status) -> str:
    return f"{prefix}index:status:{status}"
