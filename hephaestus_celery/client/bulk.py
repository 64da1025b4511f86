"""Calls about many runs: those that match filters are cancelled or deleted, a page of them in one round trip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

from hephaestus_celery.client.calls import AioCalls, RuntimeCalls
from hephaestus_celery.client.cancel import check_reason
from hephaestus_celery.client.delete import why_not_deleted
from hephaestus_celery.client.listing import CountFilters, read_conditions
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.resolve import list_run_ids
from hephaestus_celery.core.values.bulk_result import BulkResult
from hephaestus_celery.core.values.inputs import check_by
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.resume_and_cancel import Cancellation
from hephaestus_celery.storage.schema import written_by_newer

_PAGE = 100  # runs that are handled together
Progress = Callable[[int], object]
"""Called with the number of runs that were handled so far."""
Handle = Callable[[Sequence[str]], Awaitable[Sequence[str | None]]]
"""Handles some runs, by their ids; gives for each None, or why it was refused."""


@dataclass(slots=True)
class _Result:
    """What became of the runs so far."""

    done: int
    refused: dict[str, str]

    def add(self, run_ids: Sequence[str], reasons: Sequence[str | None]) -> None:
        """Count the outcomes of some runs."""
        for run_id, reason in zip(run_ids, reasons, strict=True):
            if reason is None:
                self.done += 1
            else:
                self.refused[run_id] = reason

    def given(self) -> BulkResult:
        """As callers get it."""
        return BulkResult(self.done, self.refused)


async def for_each_run(means: Means, query: Query, handle: Handle, progress: Progress | None) -> BulkResult:
    """Handle all runs that match, and that were started before this call; a ``StorageError`` carries the result so far.

    They are found page by page, the newest first, so that runs which no longer match by then change nothing.
    """
    result = _Result(0, {})
    try:
        now = await means.storage.now()
        bound = now if query.started_before is None else min(now, query.started_before)
        query = replace(query, started_before=bound, limit=_PAGE)
        while True:
            run_ids, cursor = await list_run_ids(means, query)
            if run_ids:
                result.add(run_ids, await handle(run_ids))
                if progress is not None:
                    progress(result.done + len(result.refused))
            if cursor is None:
                return result.given()
            query = replace(query, cursor=cursor)
    except StorageError as error:
        error.partial = result.given()
        raise


async def cancel_many(
    means: Means, query: Query, *, reason: str | None, by: str | None, progress: Progress | None
) -> BulkResult:
    """End all runs that match; see :meth:`Hephaestus.cancel_many`."""
    check_reason(means, reason)
    check_by(by)
    entry = encode_entry(kind="cancel", reason=reason, by=by)

    async def handle(run_ids: Sequence[str]) -> list[str | None]:
        found = await means.storage.cancel_many(
            run_ids, operation=means.token(), reason=reason, entry=entry, durations=means.durations
        )
        for cancelled in found:
            if isinstance(cancelled, Cancellation):
                instance = decode_instance(cancelled.run, reader=means.reader)
                means.emitter.workflow_cancel(instance, {"sequence": cancelled.sequence, "reason": reason})
        return [
            None if isinstance(each, Cancellation) else _why_not_cancelled(run_id, each)
            for run_id, each in zip(run_ids, found, strict=True)
        ]

    return await for_each_run(means, query, handle, progress)


async def delete_many(means: Means, query: Query, *, progress: Progress | None) -> BulkResult:
    """Delete all runs that match; see :meth:`Hephaestus.delete_many`."""

    async def handle(run_ids: Sequence[str]) -> list[str | None]:
        found = await means.storage.delete_many(run_ids, operation=means.token())
        return [
            None if each is None else why_not_deleted(run_id, each) for run_id, each in zip(run_ids, found, strict=True)
        ]

    return await for_each_run(means, query, handle, progress)


def _why_not_cancelled(run_id: str, left: Untouched) -> str:
    if left.schema is not None:
        return str(written_by_newer(run_id, left.schema))
    if left.status is None:
        return "it is gone: its retention is over, or it was deleted"
    return f"it has ended already ({left.status}); only an active run can be cancelled"


def read_choice(filters: Mapping[str, Any], *, call: str) -> Query:
    """The filters of a call about many runs; ``ValueError`` if there are none, since that would mean all runs."""
    query = read_conditions(filters, call=call)
    if all(value is None for value in filters.values()):
        raise ValueError(
            f"{call} needs a filter, since it would be about every run; status_in=list(Status) says that all are meant"
        )
    return query


class Bulk(RuntimeCalls):
    """Calls about many runs, of ``Hephaestus``."""

    def cancel_many(
        self,
        *,
        reason: str | None = None,
        by: str | None = None,
        progress: Progress | None = None,
        **filters: Unpack[CountFilters],
    ) -> BulkResult:
        """End all runs that match the filters of :meth:`list`, as :meth:`cancel` ends one; at least one filter is needed.

        Those are meant that were started before the call, by the server's clock. The result counts the runs that were
        cancelled, and says of each other that matched, by its run id, why it was not: it has ended already. Messages that
        no worker has taken are not revoked: they are turned away when they come. ``progress`` is called with the number of
        runs that were handled so far. A ``StorageError`` on the way carries the result so far as ``partial``; some more may
        have been cancelled. A call that is repeated goes on with those that are left.
        """
        query = read_choice(filters, call="cancel_many")
        return run_now(cancel_many(self._means(), query, reason=reason, by=by, progress=progress))

    def delete_many(self, *, progress: Progress | None = None, **filters: Unpack[CountFilters]) -> BulkResult:
        """Delete all ended runs that match the filters of :meth:`list`, as :meth:`delete` deletes one.

        At least one filter is needed. Active runs that match are refused. For the rest see :meth:`cancel_many`.
        """
        query = read_choice(filters, call="delete_many")
        return run_now(delete_many(self._means(), query, progress=progress))


class AioBulk(AioCalls):
    """Calls about many runs, of ``Hephaestus.aio``."""

    async def cancel_many(
        self,
        *,
        reason: str | None = None,
        by: str | None = None,
        progress: Progress | None = None,
        **filters: Unpack[CountFilters],
    ) -> BulkResult:
        """End all runs that match the filters of :meth:`list`, as :meth:`cancel` ends one; as :meth:`Hephaestus.cancel_many`."""
        query = read_choice(filters, call="cancel_many")
        return await cancel_many(self._means(), query, reason=reason, by=by, progress=progress)

    async def delete_many(self, *, progress: Progress | None = None, **filters: Unpack[CountFilters]) -> BulkResult:
        """Delete all ended runs that match the filters of :meth:`list`; as :meth:`Hephaestus.delete_many`."""
        query = read_choice(filters, call="delete_many")
        return await delete_many(self._means(), query, progress=progress)
