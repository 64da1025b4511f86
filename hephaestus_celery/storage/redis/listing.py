"""Listings in Redis: the pages of a listing, and the runs that an instance id may mean. All are coroutines."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hephaestus_celery.core.execution.resolve import Candidates
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.framing import named, reading
from hephaestus_celery.storage.redis.keys import indexes
from hephaestus_celery.storage.redis.parameters import as_parameters
from hephaestus_celery.storage.redis.stored_runs import read_summary

_BUDGET = 100  # runs that one script call of a listing looks at
_ROWS = 50  # runs that one script call of a listing returns

Row = tuple[str, RunSummary]


class Listing:
    """Answers queries over the runs of one storage."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def list_runs(self, query: Query) -> tuple[Sequence[Row], str | None]:
        """A page of runs; with several partitions, the pages of all of them are merged by start."""
        keys = self._calls.keys
        if query.id is not None:
            return await self._list_partition(keys.of_instance(query.id), query)
        found: list[Row] = []
        more = False
        for prefix in keys.all_partitions():
            runs, cursor = await self._list_partition(prefix, query)
            found.extend(runs)
            more = more or cursor is not None
        found.sort(key=lambda item: (item[1].started_at, item[0]), reverse=True)
        page = found[: query.limit]
        more = more or len(found) > query.limit
        return page, f"{page[-1][1].started_at}:{page[-1][0]}" if more and page else None

    async def candidates(self, instance_id: str, *, family: str | None, version: int | None = None) -> Candidates:
        """The active runs of an id and its newest run, in as many calls as needed."""
        prefix = self._calls.keys.of_instance(instance_id)
        whose = {"id": instance_id, "family": family, "version": None if version is None else str(version)}
        after = at = None
        while True:
            reply = await self._calls.of_partition(
                "candidates", prefix, as_parameters(**whose, exact=version is not None or None, after=after, at=at)
            )
            found = named(reply)
            after, at = found["after"].decode(), found["at"].decode()
            if not after:
                versions = {run_id: int(version) for run_id, version in json.loads(found["active"])}
                newest = found["newest"].decode() or None
                return Candidates(active=list(versions), newest=newest, versions=versions)

    async def _list_partition(self, prefix: str, query: Query) -> tuple[list[Row], str | None]:
        found: list[Row] = []
        position, next_cursor = query.cursor, None
        while True:
            parameters = _parameters(prefix, query, position=position, limit=min(_ROWS, query.limit - len(found)))
            head, *rows = await self._calls.of_partition("list", prefix, parameters)
            about = named(head)
            position, more = about["position"].decode() or None, about["more"] == b"1"
            found.extend(map(_read_row, rows))
            if len(found) == query.limit:
                # The page is full, but the script may have stopped before it knew whether another run follows.
                next_cursor = next_cursor or position
                if more:
                    return found, next_cursor
            if position is None:
                return found, None


def _parameters(prefix: str, query: Query, *, position: str | None, limit: int) -> str:
    score, _, below = (position or "").partition(":")
    if score and query.started_before is not None and int(score) >= query.started_before:
        score = below = ""
    return as_parameters(
        indexes=indexes(prefix, query),
        statuses=dict.fromkeys(query.statuses, True),
        name=query.name,
        family=query.family,
        version=None if query.version is None else str(query.version),
        id=query.id,
        tag=query.tag,
        min="-inf" if query.started_after is None else f"({query.started_after}",
        max=score or ("+inf" if query.started_before is None else f"({query.started_before}"),
        below=below,
        limit=limit,
        budget=_BUDGET,
    )


def _read_row(row: Sequence[bytes]) -> Row:
    raw_id, start, fields = row
    run_id = raw_id.decode(errors="replace")
    with reading(run_id):
        return run_id, read_summary(fields, start=start, run_id=run_id)
