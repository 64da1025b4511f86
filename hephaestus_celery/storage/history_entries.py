"""The JSON text of a history entry: commits encode it, and readers decode it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.storage.codec import decode, encode, moment
from hephaestus_celery.storage.queries import StoredEntry

_FIELDS = frozenset(field.name for field in dataclasses.fields(HistoryEntry))
_OF_CALLERS = ("pause", "unpause")
OF_CALLER = "worker"
"""Where entries of these kinds, which have no worker, say who did it: older code reads no field ``by``."""


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
        OF_CALLER: by if kind in _OF_CALLERS else worker,
        "task_id": task_id,
        "by": None if kind in _OF_CALLERS else by,
        "run_id": other_run,
    }
    return encode({key: value for key, value in fields.items() if value is not None})


def decode_entry(entry: StoredEntry, *, run_id: str) -> HistoryEntry:
    """One entry of the history of a run."""
    detail = decode(entry.detail)
    if detail.get("task_id", "").startswith(":"):
        detail["task_id"] = run_id + detail["task_id"]
    if detail["kind"] in _OF_CALLERS:
        detail["by"] = detail.pop(OF_CALLER, None)
    return HistoryEntry(
        sequence=entry.sequence,
        outcome=entry.outcome or None,
        queued_at=_moment(entry.queued_at),
        started_at=_moment(entry.started_at),
        finished_at=_moment(entry.finished_at),
        **{name: value for name, value in detail.items() if name in _FIELDS},
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


def _moment(microseconds: int | None) -> dt.datetime | None:
    return None if microseconds is None else moment(microseconds)
