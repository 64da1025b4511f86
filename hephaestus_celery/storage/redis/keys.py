"""Builds the names of Redis keys, here and nowhere else in Python; ``key_catalogue.py`` says what each holds.

The keys of a run and of its indexes share one hash tag. So one script may use them all, on a Redis Cluster too.
"""

from __future__ import annotations

from dataclasses import dataclass

from hephaestus_celery.core.values.identity import shard, shard_of_run
from hephaestus_celery.core.values.lifecycle import LIVE, Status
from hephaestus_celery.storage.queries import Query

_WITH_FAILED_STEP = frozenset({Status.FAILED, Status.CANCELLED, Status.RUNNING})
"""The statuses of runs with a step that failed: a run that undoes what has completed is running, and may be cancelled meanwhile."""


def indexes(prefix: str, query: Query) -> list[str]:
    """The indexes that a listing reads: the most selective ones. The listing checks other filters run by run."""
    return [f"{prefix}index:{index}" for index in _indexes(query)]


def _indexes(query: Query) -> list[str]:
    statuses = query.statuses if query.failed_step is None else query.statuses & _WITH_FAILED_STEP
    if query.paused:
        statuses &= LIVE  # a run that has ended is not paused
    by_status = [f"status:{status}" for status in sorted(statuses)]
    if query.waiting_for is not None:
        return [f"waiting:{query.waiting_for}"]
    if query.waiting_since_before is not None:
        return ["waits"]
    if query.id is not None:
        return [f"id:{query.id}"]
    if statuses <= LIVE or len(statuses) == 1 or query.failed_step is not None:
        return by_status
    if query.tag is not None:
        return [f"tag:{query.tag}"]
    return by_status if query.family is None else [f"family:{query.family}"]


def is_counted_by_index(query: Query) -> bool:
    """Whether the indexes that a listing reads hold exactly the runs that match, but for the times of their starts."""
    if query.paused is not None or query.retried is not None:
        return False
    if query.about_waits or query.failed_step is not None or query.name is not None or query.version is not None:
        return False
    others = [query.id, query.tag, query.family]
    if query.statuses == frozenset(Status):
        return len([other for other in others if other is not None]) <= 1
    return others == [None, None, None]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one application."""

    namespace: str
    partitions: int

    def of_run(self, run_id: str) -> RunKeys:
        """The keys of a run; its partition follows from its id."""
        return RunKeys(self.partition(shard_of_run(run_id) % self.partitions), run_id)

    def of_instance(self, instance_id: str) -> str:
        """The prefix of the partition that the runs of an instance id are in."""
        return self.partition(shard(instance_id) % self.partitions)

    def partition(self, number: int) -> str:
        """The prefix of the keys of a partition."""
        return f"{self.namespace}:{{{number}}}:"

    def all_partitions(self) -> list[str]:
        """The prefixes of all partitions."""
        return [self.partition(number) for number in range(self.partitions)]


@dataclass(frozen=True, slots=True)
class RunKeys:
    """The keys of one run; ``names`` gives them in the order in which scripts take them."""

    prefix: str
    run_id: str

    @property
    def names(self) -> list[str]:
        """run, start, history, due, answers."""
        return [
            f"{self.prefix}run:{self.run_id}",
            f"{self.prefix}start:{self.run_id}",
            f"{self.prefix}history:{self.run_id}",
            f"{self.prefix}due",
            f"{self.prefix}answers:{self.run_id}",
        ]

    @property
    def run(self) -> str:
        """The hash of the run."""
        return f"{self.prefix}run:{self.run_id}"

    @property
    def taken(self) -> str:
        """The set of the keys of events that the run has taken."""
        return f"{self.prefix}taken:{self.run_id}"

    @property
    def owners(self) -> str:
        """The hash of the steps that were given the events of these keys."""
        return f"{self.prefix}owners:{self.run_id}"

    @property
    def early(self) -> str:
        """The hash of the early events."""
        return f"{self.prefix}early:{self.run_id}"

    def staged(self, name: str) -> str:
        """The list of what was staged under a name."""
        return f"{self.prefix}edges:{self.run_id}:{name}"

    @property
    def history(self) -> str:
        """The list of the run's history."""
        return f"{self.prefix}history:{self.run_id}"

    @property
    def rounds(self) -> str:
        """The hash of the history's entries of later rounds."""
        return f"{self.prefix}rounds:{self.run_id}"

    @property
    def finished(self) -> str:
        """The channel on which the end of the run is published."""
        return f"{self.prefix}finished:{self.run_id}"
