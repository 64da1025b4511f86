"""Reading runs in a transaction: their data, and the pages of a listing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from hephaestus_celery.core.execution.listing import matches
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.queries import DataKind, Query
from hephaestus_celery.storage.transactional.record import Record, brief, summary, undo_texts
from hephaestus_celery.storage.transactional.transaction import Transaction


def known_run(transaction: Transaction, run_id: str) -> Record:
    """The run with this id; ``InstanceNotFoundError`` if there is none."""
    record = transaction.find_run(run_id)
    if record is None:
        raise InstanceNotFoundError(f"no run {run_id}; it was never started, its retention is over, or it was deleted")
    return record


def data_of(record: Record, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
    """The data of one kind that these steps have."""
    held = {
        DataKind.RESULT: record.results,
        DataKind.METADATA: record.metadata,
        DataKind.ROUND_STATE: record.round_states,
        DataKind.CONFIG: {step: text for step, (_, text) in record.configs.items()},
        DataKind.UNDO: undo_texts(record),
    }[kind]
    return {step: held[step] for step in steps if step in held}


def page_in(transaction: Transaction, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
    """A page of runs, newest first, and the cursor of the next; None after the last."""
    found, cursor = _page(transaction, query)
    paused = transaction.pauses()
    return [
        (record.new.run_id, summary(record, workflow_pause=paused.get(record.new.family))) for record in found
    ], cursor


def ids_in(transaction: Transaction, query: Query) -> tuple[Sequence[str], str | None]:
    """The run ids of a page of runs, and the cursor of the next; None after the last."""
    found, cursor = _page(transaction, query)
    return [record.new.run_id for record in found], cursor


def count_in(transaction: Transaction, query: Query) -> int:
    """How many runs match the filters."""
    return sum(1 for _ in _matching(transaction, query, None))


def _page(transaction: Transaction, query: Query) -> tuple[Sequence[Record], str | None]:
    found: list[Record] = []
    for record in _matching(transaction, query, _position(query.cursor)):
        if len(found) == query.limit:
            return found, f"{found[-1].started_at}:{found[-1].new.run_id}"
        found.append(record)
    return found, None


def runs_beginning_in(transaction: Transaction, beginning: str, *, limit: int) -> list[str]:
    """The ids of runs that begin with a text, newest first."""
    ids = (record.new.run_id for record in transaction.runs_before(None))
    return list(islice((run_id for run_id in ids if run_id.startswith(beginning)), limit))


def _matching(transaction: Transaction, query: Query, position: tuple[int, str] | None) -> Iterator[Record]:
    paused = dict(transaction.pauses())
    for record in transaction.runs_before(position):
        if matches(brief(record, workflow_pause=paused.get(record.new.family)), query):
            yield record


def _position(cursor: str | None) -> tuple[int, str] | None:
    # The position in the order of starts that a cursor names.
    if cursor is None:
        return None
    started_at, _, run_id = cursor.partition(":")
    return int(started_at), run_id
