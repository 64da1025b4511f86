"""All runs at a glance: how many there are in each status, steps per second, and the newest runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hephaestus_celery.cli.instance_documents import brief_document
from hephaestus_celery.cli.pace import find_pace
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.reports.doctor.gathering import redis_storage
from hephaestus_celery.reports.documents import plain
from hephaestus_celery.reports.whereabouts import DueTimes, moving_steps, read_due_times
from hephaestus_celery.storage.codec import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What was seen of all runs; ``steps_per_second`` is None where one look does not tell."""

    at: datetime
    counts: Mapping[Status, int]
    steps_per_second: float | None
    runs: Sequence[Instance]
    due: Sequence[DueTimes]

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        return {
            **plain({"at": self.at, "counts": dict(self.counts), "steps_per_second": self.steps_per_second}),
            "runs": [brief_document(run, due) for run, due in zip(self.runs, self.due, strict=True)],
        }

    def fingerprint(self) -> object:
        """What changes when a run does: neither the time nor the pace."""
        return self.counts, [stand_of(run) for run in self.runs]


class Outlook:
    """Looks at all runs; what a look costs does not depend on how many are stored."""

    def __init__(self, runtime: Hephaestus) -> None:
        storage = redis_storage(runtime)
        self._runtime, self._glances, self._pace = runtime, storage.glances(), find_pace(runtime, storage)

    def look(self, *, runs: int) -> Overview:
        """What there is to be seen now; so many of the newest runs. ``StorageError`` while the store is out of reach."""
        newest = self._runtime.list(limit=max(1, runs)).instances
        return Overview(
            at=moment(self._runtime.storage.now()),
            counts=self._glances.counts(),
            steps_per_second=self._pace.look(),
            runs=newest,
            due=read_due_times(newest, self._runtime.storage),
        )


def stand_of(run: Instance) -> object:
    """What changes of a run when it goes on."""
    moving = [(key, run.step_states[key]) for key in moving_steps(run)]
    return run.run_id, run.status, run.pauses, run.retried_as, moving
