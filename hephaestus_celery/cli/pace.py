"""Steps per second: by the event stream where it is switched on, else by how far runs have come from look to look."""

from __future__ import annotations

from typing import Protocol

from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.execution.stream_groups import place_of
from hephaestus_celery.core.execution.telling import What
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.glances import Advance, Advances
from hephaestus_celery.storage.redis import RedisStorage
from hephaestus_celery.storage.redis.glances import Glances

FIRST_SECONDS = 5
"""How far back the first look at the event stream goes."""
_ENTRIES = 200  # of a stream that one look reads
_LEAST_SECONDS = 0.1
FOLLOWED = 200
"""Runs at most that are looked at again, since they ran at the look before."""


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
    """Compares how far runs have come with how far they had: of those that ran, and of those that have begun since.

    It looks at a hundred runs of each kind, and takes the others for alike. So the figure is an estimate where there are more.
    """

    def __init__(self, glances: Glances) -> None:
        self._glances = glances
        self._before: Advances | None = None
        self._at = 0

    def look(self) -> float | None:
        before = self._before
        followed = [] if before is None else running_in(before)
        over = {} if before is None else {name: run for name, run in before.runs.items() if run.status.final}
        found = self._glances.advances(followed, over=over)
        now = SYSTEM_CLOCK.monotonic_ns()
        seconds = (now - self._at) / 1e9
        self._before, self._at = found, now
        if before is None or seconds < _LEAST_SECONDS:
            return None
        return steps_between(before, found) / seconds


def running_in(found: Advances) -> list[str]:
    """The newest runs of a glance that ran then; not more than one more glance can look at."""
    running = (run_id for run_id, run in found.runs.items() if run.status is Status.RUNNING)
    return sorted(running, reverse=True)[:FOLLOWED]


def steps_between(before: Advances, now: Advances) -> float:
    """How many steps have completed between two glances.

    Runs that ran before are compared one by one, and each stands for others that ran. Beyond these, the counts say how many
    run or have ended since; they have come as far as those of them that were looked at.
    """
    ran = [run_id for run_id in running_in(before) if run_id in now.runs]
    share = before.counts[Status.RUNNING] / len(ran) if ran else 0.0
    steps = share * sum(now.runs[run_id].completed - before.runs[run_id].completed for run_id in ran)
    for status in (Status.RUNNING, *(each for each in Status if each.final)):
        went_on = share * sum(now.runs[run_id].status is status for run_id in ran)
        earlier = before.counts[status] if status.final else 0
        many = now.counts[status] - earlier - went_on
        others = [run for run_id, run in now.runs.items() if run.status is status and run_id not in before.runs]
        if others and many > 0:
            steps += many * sum(_completed_since(before, run) for run in others) / len(others)
    return steps


def _completed_since(before: Advances, run: Advance) -> int:
    # Of a run that neither ran nor had ended: all, if it is new or had not begun. If it had waited, then a step at most.
    newest = max((each.started_at for each in before.runs.values()), default=0)
    is_new = run.started_at > newest or before.counts[Status.PENDING] > 0
    return run.completed if is_new else min(run.completed, 1)
