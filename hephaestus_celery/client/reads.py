"""Reading runs: one as it stands, its history, and pages of many."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, Unpack

from hephaestus_celery.client.calls import (
    AioCalls,
    AioHandleCalls,
    AioWorkflowCalls,
    HandleCalls,
    RuntimeCalls,
    WorkflowCalls,
)
from hephaestus_celery.client.listing import (
    CountFilters,
    ListFilters,
    Page,
    RunConditions,
    RunFilters,
    read_conditions,
    read_query,
)
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.resolve import count_runs, find_run, list_runs, read_run, read_whole_run
from hephaestus_celery.core.definition.workflow import InputT, WorkflowDefinition
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.identity import Unique, is_run_id
from hephaestus_celery.core.values.inputs import is_count, is_number
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.storage.history_entries import decode_entry
from hephaestus_celery.storage.instances import decode_summary


async def history(means: Means, id: str, *, after: int, limit: int | None) -> list[HistoryEntry]:
    """The entries of a run's history; see :meth:`Hephaestus.history`."""
    if not is_number(after):
        raise ValueError(f"after must be the sequence of an entry, or 0, not {shown(after)}")
    if limit is not None and not is_count(limit):
        raise ValueError(f"limit must be a positive int or None, not {shown(limit)}")
    run_id = await find_run(means, id, workflow=None)
    entries = await means.storage.history(run_id, after=after, limit=limit)
    if not entries:
        await read_run(means, run_id)  # raises for a run that is not there; one that has not begun has no history
    return await means.each(entries, lambda entry: decode_entry(entry, run_id=run_id))


async def list_instances(means: Means, filters: Mapping[str, Any]) -> Page:
    """A page of runs; see :meth:`Hephaestus.list`."""
    runs, cursor = await list_runs(means, read_query(filters))
    instances = await means.each(runs, lambda row: decode_summary(row[1], run_id=row[0], reader=means.reader))
    return Page(instances=tuple(instances), next_cursor=cursor)


async def count(means: Means, filters: Mapping[str, Any]) -> int:
    """How many runs match; see :meth:`Hephaestus.count`."""
    return await count_runs(means, read_conditions(filters, call="count"))


def own_filters(workflow: type[WorkflowDefinition], filters: RunFilters) -> ListFilters:
    """The filters of a workflow's own listing, in which an id may be the value alone."""
    return {**filters, "workflow": workflow, "id": own_id(workflow, filters.get("id"))}


def own_conditions(workflow: type[WorkflowDefinition], filters: RunConditions) -> CountFilters:
    """The same of a call that has no pages."""
    return {**filters, "workflow": workflow, "id": own_id(workflow, filters.get("id"))}


def own_id(workflow: type[WorkflowDefinition], value: str | None) -> str | None:
    """What a filter of a workflow gives as the id, whole; what can't be one is refused by who reads the filters."""
    if isinstance(value, str) and _is_bare(value) and isinstance(getattr(workflow, "unique", None), Unique):
        return f"{workflow.unique.key}::{value}"
    return value


def _is_bare(value: str) -> bool:
    return "::" not in value and not is_run_id(value)


class Reads(RuntimeCalls):
    """Reads, of ``Hephaestus``."""

    def get(self, id: str, *, workflow: type[WorkflowDefinition] | None = None) -> Instance:
        """The active run of an instance id, else its newest; or the run with this run id.

        ``InstanceNotFoundError`` when there is none, ``AmbiguousInstanceError`` when several are active.
        """
        return run_now(read_run(self._means(), id, workflow=workflow))

    def history(self, id: str, *, after: int = 0, limit: int | None = None) -> builtins.list[HistoryEntry]:
        """Every attempt, resume and cancellation of a run, in the order of their commits.

        To read it by pages, pass ``limit``, and as ``after`` the ``sequence`` of the last entry that was read. The page
        after the last is empty. Entries of one number, as discarded results may have, are never parted.
        """
        return run_now(history(self._means(), id, after=after, limit=limit))

    def list(self, **filters: Unpack[ListFilters]) -> Page:
        """A page of instances that match all filters, newest first; ``page.next_cursor`` gives the next one.

        Filters: ``status``, ``status_in``, ``workflow`` (a class or its name; an umbrella means all its versions),
        ``version``, ``workflow_family``, ``id``, ``tag``, ``started_after``, ``started_before`` (aware datetimes),
        ``waiting_for`` (an event that a step waits for), ``waiting_since_before`` (such a step has waited since before then),
        ``failed_step`` (a class or its key), ``paused`` (itself, or with its workflow), ``limit`` (default 100), ``cursor``.
        ``TypeError`` for an unknown filter, ``ValueError`` for a bad value.

        A listing carries no contexts, results, metadata or failures. Accessing one of them reads it then, by run id, and
        keeps it; ``InstanceNotFoundError`` if the run is gone by then.
        """
        return run_now(list_instances(self._means(), filters))

    def count(self, **filters: Unpack[CountFilters]) -> int:
        """How many runs match all filters: those of :meth:`list`, but ``limit`` and ``cursor``.

        The runs are counted in the store, and none is read. While runs start and end, the number is one of a moment ago.
        ``TypeError`` for an unknown filter, ``ValueError`` for a bad value.
        """
        return run_now(count(self._means(), filters))


class AioReads(AioCalls):
    """Reads, of ``Hephaestus.aio``."""

    async def get(self, id: str, *, workflow: type[WorkflowDefinition] | None = None) -> Instance:
        """The active run of an instance id, else its newest, with all of its data; as :meth:`Hephaestus.get`."""
        return await read_whole_run(self._means(), id, workflow=workflow)

    async def history(self, id: str, *, after: int = 0, limit: int | None = None) -> builtins.list[HistoryEntry]:
        """Every attempt, resume and cancellation of a run; as :meth:`Hephaestus.history`."""
        return await history(self._means(), id, after=after, limit=limit)

    async def list(self, **filters: Unpack[ListFilters]) -> Page:
        """A page of instances that match all filters, newest first, without their data; as :meth:`Hephaestus.list`."""
        return await list_instances(self._means(), filters)

    async def count(self, **filters: Unpack[CountFilters]) -> int:
        """How many runs match all filters; as :meth:`Hephaestus.count`."""
        return await count(self._means(), filters)


class WorkflowReads(WorkflowCalls):
    """Reads, of a workflow class."""

    @classmethod
    def get(cls, value: str) -> Instance:
        """The active run of an instance, else its newest; see :meth:`Hephaestus.get`."""
        return cls._runtime(Reads).get(cls._id(value, "get"), workflow=cls)

    @classmethod
    def history(cls, value: str, *, after: int = 0, limit: int | None = None) -> builtins.list[HistoryEntry]:
        """What happened in a run so far; see :meth:`Hephaestus.history`."""
        runtime = cls._runtime(Reads)
        run_id = runtime.get(cls._id(value, "history"), workflow=cls).run_id
        return runtime.history(run_id, after=after, limit=limit)

    @classmethod
    def list(cls, **filters: Unpack[RunFilters]) -> Page:
        """A page of this workflow's runs (of all its versions), newest first; see :meth:`Hephaestus.list`.

        ``id`` may be the value alone.
        """
        return cls._runtime(Reads).list(**own_filters(cls, filters))

    @classmethod
    def count(cls, **filters: Unpack[RunConditions]) -> int:
        """How many of this workflow's runs (of all its versions) match; see :meth:`Hephaestus.count`.

        ``id`` may be the value alone.
        """
        return cls._runtime(Reads).count(**own_conditions(cls, filters))


class AioWorkflowReads(AioWorkflowCalls[InputT]):
    """Reads, of a workflow class's ``aio``."""

    async def get(self, value: str) -> Instance:
        """The active run of an instance, else its newest, with all of its data; as :meth:`Hephaestus.get`."""
        return await self._runtime(AioReads).get(self._id(value, "get"), workflow=self._workflow)

    async def history(self, value: str, *, after: int = 0, limit: int | None = None) -> builtins.list[HistoryEntry]:
        """What happened in a run so far; as :meth:`Hephaestus.history`."""
        instance = await self._find(value, "history")
        return await self._runtime(AioReads).history(instance.run_id, after=after, limit=limit)

    async def list(self, **filters: Unpack[RunFilters]) -> Page:
        """A page of this workflow's runs (of all its versions), newest first, without their data; as :meth:`Hephaestus.list`."""
        return await self._runtime(AioReads).list(**own_filters(self._workflow, filters))

    async def count(self, **filters: Unpack[RunConditions]) -> int:
        """How many of this workflow's runs (of all its versions) match; as :meth:`Hephaestus.count`."""
        return await self._runtime(AioReads).count(**own_conditions(self._workflow, filters))


class HandleReads(HandleCalls):
    """Reads, of a handle."""

    def get(self) -> Instance:
        """The run as it stands."""
        return self._runtime(Reads).get(self.run_id)

    @property
    def status(self) -> Status:
        """The status of the run, read now."""
        return self.get().status

    def history(self, *, after: int = 0, limit: int | None = None) -> builtins.list[HistoryEntry]:
        """What happened so far; see :meth:`Hephaestus.history`."""
        return self._runtime(Reads).history(self.run_id, after=after, limit=limit)


class AioHandleReads(AioHandleCalls):
    """Reads, of a handle's ``aio``."""

    async def get(self) -> Instance:
        """The run as it stands, with all of its data."""
        return await self._runtime(AioReads).get(self.run_id)

    @property
    async def status(self) -> Status:
        """The status of the run, read now: ``await handle.aio.status``."""
        return (await self._find()).status

    async def history(self, *, after: int = 0, limit: int | None = None) -> builtins.list[HistoryEntry]:
        """What happened so far; as :meth:`Hephaestus.history`."""
        return await self._runtime(AioReads).history(self.run_id, after=after, limit=limit)
