"""Listings in Redis: the pages of a listing, how many runs match, and the runs that an instance id may mean. Coroutines."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hephaestus_celery.core.execution.resolve import Candidates
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.framing import named, reading
from hephaestus_celery.storage.redis.keys import indexes, is_counted_by_index
from hephaestus_celery.storage.redis.parameters import as_parameters
from hephaestus_celery.storage.redis.stored_runs import read_summary

_BUDGET = 100  # runs that one script call of a listing looks at
_ROWS = 50  # runs that one script call of a listing returns
_SELECT_BUDGET = 250  # entries that one script call looks at where it returns run ids alone, or their number

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

    async def count_runs(self, query: Query) -> int:
        """How many runs match: what the indexes say, or the number of those that were looked at."""
        keys = self._calls.keys
        prefixes = keys.all_partitions() if query.id is None else [keys.of_instance(query.id)]
        return sum([await self._count_partition(prefix, query) for prefix in prefixes])

    async def list_run_ids(self, query: Query) -> tuple[Sequence[str], str | None]:
        """A page of the run ids of those that match; as for a listing, several partitions are merged by start."""
        keys = self._calls.keys
        prefixes = keys.all_partitions() if query.id is None else [keys.of_instance(query.id)]
        found: list[tuple[int, str]] = []
        more = False
        for prefix in prefixes:
            runs, rest = await self._select_partition(prefix, query)
            found.extend(runs)
            more = more or rest
        found.sort(reverse=True)
        page = found[: query.limit]
        more = more or len(found) > query.limit
        return [run_id for _, run_id in page], "{}:{}".format(*page[-1]) if more and page else None

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

    async def runs_beginning_with(self, beginning: str, *, limit: int) -> Sequence[str]:
        """The run ids that begin with a text: goes through the indexes of all runs, a few hundred of each in one call."""
        found: list[str] = []
        for prefix in self._calls.keys.all_partitions():
            found.extend(await self._beginning_with(prefix, beginning, limit=limit - len(found)))
            if len(found) >= limit:
                break
        return found

    async def _beginning_with(self, prefix: str, beginning: str, *, limit: int) -> list[str]:
        found: list[str] = []
        start, below = "+inf", None
        every = indexes(prefix, Query())
        while True:
            asked = as_parameters(
                indexes=every, beginning=beginning, limit=limit - len(found), max=start, below=below or None
            )
            reply = named(await self._calls.of_partition("beginning", prefix, asked))
            found.extend(reply["found"].decode().split())
            start, _, below = reply["position"].decode().partition(":")
            if not start or len(found) >= limit:
                return found

    async def _list_partition(self, prefix: str, query: Query) -> tuple[list[Row], str | None]:
        found: list[Row] = []
        position, places = query.cursor, indexes(prefix, query)
        while True:
            limit = min(_ROWS, query.limit - len(found))
            parameters = _parameters(query, places, position=position, limit=limit, budget=_BUDGET)
            head, *rows = await self._calls.of_partition("list", prefix, parameters)
            about = named(head)
            position, more = about["position"].decode() or None, about["more"] == b"1"
            found.extend(map(_read_row, rows))
            # The page may be full before the script knows whether another run follows.
            if len(found) == query.limit and more:
                run_id, last = found[-1]
                return found, f"{last.started_at}:{run_id}"
            if position is None:
                return found, None

    async def _select_partition(self, prefix: str, query: Query) -> tuple[list[tuple[int, str]], bool]:
        # The starts and ids of a page of runs, and whether others may follow.
        found: list[tuple[int, str]] = []
        position, places = query.cursor, indexes(prefix, query)
        while True:
            limit = min(_SELECT_BUDGET, query.limit - len(found))
            parameters = _parameters(query, places, position=position, limit=limit, budget=_SELECT_BUDGET, names=True)
            reply = named(await self._calls.of_partition("select", prefix, parameters))
            for place in reply["ids"].decode().split():
                started, _, run_id = place.partition(":")
                found.append((int(started), run_id))
            position = reply["position"].decode() or None
            if position is None or (len(found) == query.limit and reply["more"] == b"1"):
                return found, position is not None

    async def _count_partition(self, prefix: str, query: Query) -> int:
        # Each index by itself, since the order of the runs does not matter.
        return sum([await self._count_in(prefix, index, query) for index in indexes(prefix, query)])

    async def _count_in(self, prefix: str, index: str, query: Query) -> int:
        count, position = 0, None
        cardinal = is_counted_by_index(query)
        while True:
            parameters = _parameters(
                query, [index], position=position, limit=_SELECT_BUDGET, budget=_SELECT_BUDGET, cardinal=cardinal
            )
            reply = named(await self._calls.of_partition("select", prefix, parameters))
            count += int(reply["count"])
            position = reply["position"].decode() or None
            if position is None:
                return count


def _parameters(
    query: Query,
    places: Sequence[str],
    *,
    position: str | None,
    limit: int,
    budget: int,
    names: bool = False,
    cardinal: bool = False,
) -> str:
    score, _, below = (position or "").partition(":")
    bounds = [query.started_before, query.waiting_since_before]  # what waits since then was started before then
    before = min((bound for bound in bounds if bound is not None), default=None)
    if score and before is not None and int(score) >= before:
        score = below = ""
    return as_parameters(
        indexes=list(places),
        statuses=dict.fromkeys(query.statuses, True),
        name=query.name,
        family=query.family,
        version=None if query.version is None else str(query.version),
        id=query.id,
        tag=query.tag,
        failed=query.failed_step,
        waits=query.about_waits or None,
        event=query.waiting_for,
        since=query.waiting_since_before,
        cardinal=cardinal or None,
        names=names or None,
        retried=query.retried,
        paused=query.paused,
        min="-inf" if query.started_after is None else f"({query.started_after}",
        max=score or ("+inf" if before is None else f"({before}"),
        below=below,
        limit=limit,
        budget=budget,
    )


def _read_row(row: Sequence[bytes]) -> Row:
    raw_id, start, fields = row
    run_id = raw_id.decode(errors="replace")
    with reading(run_id):
        return run_id, read_summary(fields, start=start, run_id=run_id)
