"""Steps per second: by the event stream where it is switched on, else by how far runs have come from look to look."""

from __future__ import annotations

from typing import Protocol

from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.execution.stream_groups import place_of
from hephaestus_celery.core.execution.telling import What
from hephaestus_celery.storage.glances import Advance, Advances
from hephaestus_celery.storage.redis import RedisStorage
from hephaestus_celery.storage.redis.glances import Glances

FIRST_SECONDS = 5
"""How far back the first look at the event stream goes."""
_ENTRIES = 200  # of a stream that one look reads
_LEAST_SECONDS = 0.1


class Pace(Protocol):
    """Finds how many steps complete in a second."""

    def look(self) -> float | None:
        """Steps per second now; None where one look does not tell."""
        ...


def find_pace(runtime: Hephaestus, storage: RedisStorage) -> Pace:
    """What finds the pace of a runtime."""
    return StreamPace(storage) if runtime.settings.event_stream else AdvancePace(storage.glances())


class StreamPace:
    """Counts what the event stream was told since the look before; of more than some hundred entries it reads a part."""

    def __init__(self, storage: RedisStorage) -> None:
        self._storage = storage
        self._at: int | None = None
        self._read: dict[int, str] = {}

    def look(self) -> float | None:
        now = self._storage.now()
        since = now - FIRST_SECONDS * 1_000_000 if self._at is None else self._at
        steps = sum(self._look(number, since // 1000) for number in range(self._storage.partitions))
        self._at = now
        return steps / max(_LEAST_SECONDS, (now - since) / 1e6)

    def _look(self, partition: int, since: int) -> float:
        after = self._read.get(partition, f"{since}-0")
        found = self._storage.browse_events(partition, after=after, limit=_ENTRIES)
        self._read[partition] = found.newest
        told = [entry.told for entry in found.entries if entry.told is not None]
        if not told:
            return 0
        steps = sum(each.telling.what is What.COMPLETE and "discarded" not in each.telling.facts for each in told)
        before = place_of(found.entries[0].id)[1] - told[0].telling.count
        read, all_events = place_of(found.entries[-1].id)[1] - before, place_of(found.newest)[1] - before
        return steps * max(1, all_events / read)  # events behind those that were read are of the same kinds


class AdvancePace:
    """Compares how far runs have come with how far they had: of those that run now, and of those that ended since.

    It looks at a hundred runs of each kind, and takes the others for alike. So the figure is an estimate where there are more.
    """

    def __init__(self, glances: Glances) -> None:
        self._glances = glances
        self._before: dict[str, Advance] = {}
        self._mark: int | None = None
        self._at: int | None = None

    def look(self) -> float | None:
        active = [run_id for run_id, run in self._before.items() if not run.final]
        found = self._glances.advances(active, since=self._mark)
        now = SYSTEM_CLOCK.monotonic_ns()
        seconds = None if self._at is None else (now - self._at) / 1e9
        pace = None if seconds is None or seconds < _LEAST_SECONDS else self._completed(found) / seconds
        self._at = now
        self._mark = max([self._mark or 0, *(run.started_at for run in found.runs.values())])
        self._before = dict(found.runs)
        return pace

    def _completed(self, found: Advances) -> float:
        known = new = 0
        for run_id, run in found.runs.items():
            if run_id in self._before:
                known += run.completed - self._before[run_id].completed
            elif run.started_at > (self._mark or 0):
                new += run.completed
        still = sum(not run.final for run in found.runs.values())
        known_share = max(1, found.running / still) if still else 1
        new_share = max(1, found.ended / found.ended_looked_at) if found.ended_looked_at else 1
        return known * known_share + new * new_share
