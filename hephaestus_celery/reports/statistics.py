"""The numbers that ``stats`` shows: each from the indexes and sets that the store keeps anyway, in bounded reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.reports.doctor.gathering import redis_storage
from hephaestus_celery.runners.celery.inspection import Inspection
from hephaestus_celery.storage.codec import moment
from hephaestus_celery.storage.examination import CountedRuns

MINUTES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCount:
    """Runs of a workflow, by stored name, in a status."""

    workflow: str
    status: Status
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneCount:
    """A queue and a priority: its messages, None where that can't be known now, and the steps that nobody has claimed."""

    queue: str
    priority: int
    messages: int | None
    unclaimed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Numbers of a moment. ``started`` and ``ended`` are of runs that began in the last ``minutes``.

    ``paused_workflows`` are paused as a whole, in all of their versions.

    ``complete`` is False where there was no time to count all. Durations are seconds, memory is bytes.
    """

    at: datetime
    runs: Sequence[RunCount]
    complete: bool
    oldest_waiting: datetime | None
    lanes: Sequence[LaneCount]
    due: int
    overdue: float
    minutes: int
    started: int
    ended: int
    schedulers: Sequence[str]
    paused_workflows: Sequence[str]
    memory: int | None
    memory_limit: int | None


def read_statistics(app: Any, runtime: Hephaestus) -> Statistics:
    """The numbers of a runtime, now."""
    storage = redis_storage(runtime)
    examination = storage.examination()
    server, schedulers, waiting = examination.server(), examination.schedulers(), examination.oldest_waiting()
    counted, recent, lanes = examination.runs(), examination.recent(seconds=MINUTES * 60), examination.lanes()
    lengths = Inspection(app, storage, transactional=runtime.settings.transactional_dispatch).lengths(lanes)
    return Statistics(
        at=moment(storage.now()),
        runs=[
            RunCount(workflow=name, status=Status(status), runs=count)
            for (name, status), count in sorted(_of_all_versions(counted).items())
        ],
        complete=counted.looked_at >= counted.total,
        oldest_waiting=None if waiting is None else moment(waiting),
        lanes=[
            LaneCount(
                queue=Lane.parse(lane).queue,
                priority=Lane.parse(lane).priority,
                messages=lengths[lane],
                unclaimed=unclaimed,
            )
            for lane, unclaimed in sorted(lanes.items())
        ],
        due=sum(each.due for each in schedulers),
        overdue=max(each.overdue for each in schedulers),
        minutes=MINUTES,
        started=recent.started,
        ended=recent.ended,
        schedulers=[each.owner for each in schedulers if each.owner is not None],
        paused_workflows=sorted(storage.paused_workflows()),
        memory=server.used if server.described else None,
        memory_limit=server.limit if server.described else None,
    )


def _of_all_versions(counted: CountedRuns) -> Counter[tuple[str, str]]:
    kinds: Counter[tuple[str, str]] = Counter()
    for (name, _version, status), count in counted.kinds.items():
        kinds[name, status] += count
    return kinds
