"""The JSON text of a history entry: commits encode it, and readers decode it.

Code from before ``by`` and ``run_id`` refuses an entry with a field that it does not know. So these, and all that come later,
stand where :func:`~hephaestus_celery.storage.codec.decode` of that code does not look.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.storage.codec import decode_with_newer, encode_with_newer, moment
from hephaestus_celery.storage.queries import StoredEntry

_FIELDS = frozenset(field.name for field in dataclasses.fields(HistoryEntry))


def encode_entry(
    *,
    kind: str,
    step: str | None = None,
    attempt: int | None = None,
    event: str | None = None,
    reason: str | None = None,
    worker: str | None = None,
    task_id: str | None = None,
    by: str | None = None,
    other_run: str | None = None,
    round: int | None = None,
    compensates: str | None = None,
    run_id: str = "",
) -> str:
    """The JSON text that a commit adds to the history; the store adds order, outcome and times.

    The ids of our own tasks begin with the ``run_id``. Entries leave it out, since each would repeat it. ``other_run`` is the
    ``run_id`` of the entry: the run that this one was made of.
    """
    if task_id is not None and run_id:
        task_id = task_id.removeprefix(run_id)
    fields = {
        "kind": kind,
        "step": step,
        "attempt": attempt,
        "event": event,
        "reason": reason,
        "worker": worker,
        "task_id": task_id,
    }
    newer = {"round": round, "by": by, "run_id": other_run, "compensates": compensates}
    return encode_with_newer(_present(fields), _present(newer))


def read_fields(detail: str, *, run_id: str) -> dict[str, Any]:
    """The fields of an entry of this run, by name; newer code may have written some that this one does not know."""
    fields = decode_with_newer(detail)
    if fields.get("task_id", "").startswith(":"):
        fields["task_id"] = run_id + fields["task_id"]
    return fields


def decode_entry(entry: StoredEntry, *, run_id: str) -> HistoryEntry:
    """One entry of the history of a run."""
    return HistoryEntry(
        sequence=entry.sequence,
        outcome=entry.outcome or None,
        queued_at=_moment(entry.queued_at),
        started_at=_moment(entry.started_at),
        finished_at=_moment(entry.finished_at),
        **{name: value for name, value in read_fields(entry.detail, run_id=run_id).items() if name in _FIELDS},
    )


def page_of(entries: Sequence[StoredEntry], limit: int | None) -> Sequence[StoredEntry]:
    """The first entries, at most ``limit``, but all of one number or none: the next page begins after the last number."""
    if limit is None or len(entries) <= limit:
        return list(entries)
    last = entries[limit].sequence
    whole = [entry for entry in entries[:limit] if entry.sequence != last]
    return whole or [entry for entry in entries if entry.sequence == last]


def is_whole_page(entries: Sequence[StoredEntry], limit: int | None) -> bool:
    """Whether more entries would not change the page that begins with these."""
    return limit is not None and len(entries) > limit and entries[-1].sequence != entries[0].sequence


def _present(fields: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in fields.items() if value is not None}


def _moment(microseconds: int | None) -> dt.datetime | None:
    return None if microseconds is None else moment(microseconds)
