"""Starts of runs that are alike, several in one call of a script: grouped, written for the script, and its replies read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis.exceptions import ResponseError

from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.redis.errors import explain, is_transient
from hephaestus_celery.storage.redis.keys import Keys
from hephaestus_celery.storage.redis.parameters import as_parameters, data_of_start, first_steps
from hephaestus_celery.storage.redis.pipelines import RunCall
from hephaestus_celery.storage.starts import NewRun

_MOST = 25  # runs in one call: about a millisecond
_MOST_STEPS = 50  # first steps and tags of all these runs
_MOST_BYTES = 131_072  # of their data, if there is more than one run


@dataclass(slots=True)
class Group:
    """Runs for one call, by their positions among all that are to be created; ``kind`` is what they have in common."""

    kind: tuple[object, ...]
    positions: list[int] = field(default_factory=list[int])
    weight: int = 0
    size: int = 0

    def has_room(self, weight: int, size: int) -> bool:
        """Whether another run fits in."""
        if not self.positions:
            return True
        fits = self.weight + weight <= _MOST_STEPS and self.size + size <= _MOST_BYTES
        return fits and len(self.positions) < _MOST

    def add(self, position: int, weight: int, size: int) -> None:
        """Take a run in."""
        self.positions.append(position)
        self.weight += weight
        self.size += size


def grouped(runs: Sequence[NewRun], keys: Keys) -> list[Group]:
    """The runs in groups, each of one partition; those of a partition stay in the order given."""
    groups: list[Group] = []
    open_groups: dict[str, Group] = {}
    for position, run in enumerate(runs):
        prefix = keys.of_run(run.run_id).prefix
        kind = _kind(run)
        weight, size = len(run.firsts) + len(run.tags), sum(map(len, data_of_start(run)))
        group = open_groups.get(prefix)
        if group is None or group.kind != kind or not group.has_room(weight, size):
            group = open_groups[prefix] = Group(kind)
            groups.append(group)
        group.add(position, weight, size)
    return groups


def call_of(runs: Sequence[NewRun]) -> RunCall:
    """The call of ``create_many.lua`` that creates the runs of a group."""
    first = runs[0]
    lists, firsts = first_steps(first)
    data = [data_of_start(run) for run in runs]
    parameters = as_parameters(
        runs=[[run.run_id, run.instance_id, run.message_headers or ""] for run in runs],
        size=len(data[0]),
        name=first.name,
        family=first.family,
        version=str(first.version),
        scope=first.scope,
        tags=list(first.tags),
        firsts=firsts,
        schema=first.schema,
        lanes={step.step: step.lane for step in first.firsts if step.lane is not None} or None,
        dispatch_timeout=first.durations.dispatch_timeout,
        deadline=first.deadline,
        undo=first.compensates or None,
    )
    return RunCall(
        run_id=first.run_id, parameters=parameters, data=[text for texts in data for text in texts], lists=lists
    )


def answers_of(reply: Any, count: int) -> Sequence[list[bytes] | StorageError | None]:
    """The answer for each of ``count`` runs, or its error; None for a run that must be asked for alone."""
    if isinstance(reply, StorageError) and reply.transient:
        return [reply] * count
    rows = cast("list[list[bytes]]", reply) if isinstance(reply, list) else []
    if len(rows) != count:  # refused as a whole, maybe for what one of them holds
        return [None] * count
    return [_answer(row) for row in rows]


def _answer(row: list[bytes]) -> list[bytes] | StorageError | None:
    match row:
        case [b"left"]:
            return None
        case [b"failed", text]:
            cause = ResponseError(text.decode(errors="replace"))
            error = StorageError(explain(cause), transient=is_transient(cause))
            error.__cause__ = cause
            return error
        case _:
            return row


def _kind(run: NewRun) -> tuple[object, ...]:
    firsts = [
        (first.step, first.max_attempts, first.lane, first.prepared_message and first.prepared_message.list)
        for first in run.firsts
    ]
    return run.name, run.version, run.scope, run.schema, run.compensates, run.deadline, tuple(run.tags), tuple(firsts)
