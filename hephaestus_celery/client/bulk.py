"""Calls about many runs that match filters: a page of them is cancelled or deleted in one round trip, others one by one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

from hephaestus_celery.client.calls import AioCalls, RuntimeCalls
from hephaestus_celery.client.cancel import check_reason
from hephaestus_celery.client.delete import why_not_deleted
from hephaestus_celery.client.listing import CountFilters, read_conditions
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.pauses import pause_run, unpause_run
from hephaestus_celery.client.reruns import retry
from hephaestus_celery.client.resolve import list_run_ids
from hephaestus_celery.core.values.bulk_result import BulkResult
from hephaestus_celery.core.values.inputs import check_by
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import HephaestusError, RunStateError, StorageError
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


async def for_each_run(
    means: Means, query: Query, handle: Handle, progress: Progress | None, *, at_once: int = _PAGE
) -> BulkResult:
    """Handle all runs that match, and that were started before this call; a ``StorageError`` carries the result so far.

    They are found page by page, the newest first, so that runs which no longer match by then change nothing. ``at_once``: how
    many are handled together.
    """
    result = _Result(0, {})
    try:
        now = await means.storage.now()
        bound = now if query.started_before is None else min(now, query.started_before)
        query = replace(query, started_before=bound, limit=_PAGE)
        while True:
            run_ids, cursor = await list_run_ids(means, query)
            for start in range(0, len(run_ids), at_once):
                some = run_ids[start : start + at_once]
                result.add(some, await handle(some))
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


async def retry_many(means: Means, query: Query, *, by: str | None, progress: Progress | None) -> BulkResult:
    """Retry all runs that match and were not retried before; see :meth:`Hephaestus.retry_many`."""
    check_by(by)

    async def retry_one(run_id: str) -> None:
        await retry(means, run_id, context=None, by=by)

    if query.retried is None:
        query = replace(query, retried=False)
    return await for_each_run(means, query, _each(retry_one), progress, at_once=1)


async def pause_many(means: Means, query: Query, *, by: str | None, progress: Progress | None) -> BulkResult:
    """Pause all runs that match; see :meth:`Hephaestus.pause_many`."""
    check_by(by)

    async def pause_one(run_id: str) -> None:
        if not await pause_run(means, run_id, by=by, workflow=None):
            raise RunStateError(f"{run_id} is paused already")

    return await for_each_run(means, query, _each(pause_one), progress, at_once=1)


async def unpause_many(means: Means, query: Query, *, by: str | None, progress: Progress | None) -> BulkResult:
    """Let all runs that match go on; see :meth:`Hephaestus.unpause_many`."""
    check_by(by)

    async def unpause_one(run_id: str) -> None:
        if not await unpause_run(means, run_id, by=by, workflow=None):
            raise RunStateError(
                f"{run_id} is not paused itself; unpause_workflow lets the runs of a paused workflow go on"
            )

    return await for_each_run(means, query, _each(unpause_one), progress, at_once=1)


def _each(act: Callable[[str], Awaitable[None]]) -> Handle:
    """Handle runs by a call for each, whose errors are refusals; but a store that can't be reached ends it all."""

    async def handle(run_ids: Sequence[str]) -> list[str | None]:
        reasons: list[str | None] = []
        for run_id in run_ids:
            try:
                await act(run_id)
            except StorageError as error:
                if error.__cause__ is not None:  # of the server, or of the way to it; else of this run alone
                    raise
                reasons.append(str(error))
            except (HephaestusError, ValueError) as error:
                reasons.append(str(error))
            else:
                reasons.append(None)
        return reasons

    return handle


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

    def retry_many(
        self, *, by: str | None = None, progress: Progress | None = None, **filters: Unpack[CountFilters]
    ) -> BulkResult:
        """Retry all runs that match the filters of :meth:`list`, as :meth:`retry` retries one; at least one filter is needed.

        Runs that were retried before don't match, unless ``retried=True`` asks for them, and then they are refused; so a call
        that is repeated goes on with those that are left, and retries none twice. Refused are those that are active or
        completed too, those whose id an active run holds, and those whose workflow this process does not know. For the rest
        see :meth:`cancel_many`.
        """
        query = read_choice(filters, call="retry_many")
        return run_now(retry_many(self._means(), query, by=by, progress=progress))

    def pause_many(
        self, *, by: str | None = None, progress: Progress | None = None, **filters: Unpack[CountFilters]
    ) -> BulkResult:
        """Pause all runs that match the filters of :meth:`list`, as :meth:`pause` pauses one; at least one filter is needed.

        Refused are those that have ended, or are paused themselves already. For the rest see :meth:`cancel_many`.
        """
        query = read_choice(filters, call="pause_many")
        return run_now(pause_many(self._means(), query, by=by, progress=progress))

    def unpause_many(
        self, *, by: str | None = None, progress: Progress | None = None, **filters: Unpack[CountFilters]
    ) -> BulkResult:
        """Let all paused runs that match the filters of :meth:`list` go on, as :meth:`unpause` does with one.

        At least one filter is needed. Refused are those that are not paused themselves, also where their workflow is paused:
        that pause ends with :meth:`unpause_workflow`. For the rest see :meth:`cancel_many`.
        """
        query = read_choice(filters, call="unpause_many")
        return run_now(unpause_many(self._means(), query, by=by, progress=progress))

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

    async def retry_many(
        self, *, by: str | None = None, progress: Progress | None = None, **filters: Unpack[CountFilters]
    ) -> BulkResult:
        """Retry all runs that match the filters of :meth:`list`, as :meth:`retry` retries one; as :meth:`Hephaestus.retry_many`."""
        query = read_choice(filters, call="retry_many")
        return await retry_many(self._means(), query, by=by, progress=progress)

    async def pause_many(
        self, *, by: str | None = None, progress: Progress | None = None, **filters: Unpack[CountFilters]
    ) -> BulkResult:
        """Pause all runs that match the filters of :meth:`list`, as :meth:`pause` pauses one; as :meth:`Hephaestus.pause_many`."""
        query = read_choice(filters, call="pause_many")
        return await pause_many(self._means(), query, by=by, progress=progress)

    async def unpause_many(
        self, *, by: str | None = None, progress: Progress | None = None, **filters: Unpack[CountFilters]
    ) -> BulkResult:
        """Let all paused runs that match the filters of :meth:`list` go on; as :meth:`Hephaestus.unpause_many`."""
        query = read_choice(filters, call="unpause_many")
        return await unpause_many(self._means(), query, by=by, progress=progress)

    async def delete_many(self, *, progress: Progress | None = None, **filters: Unpack[CountFilters]) -> BulkResult:
        """Delete all ended runs that match the filters of :meth:`list`; as :meth:`Hephaestus.delete_many`."""
        query = read_choice(filters, call="delete_many")
        return await delete_many(self._means(), query, progress=progress)
