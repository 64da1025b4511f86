"""A history entry and its fields, as users read it: one attempt, resume, timer, rescue, pause or cancellation of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One attempt, resume, timer, rescue, pause or cancellation; fields that don't apply are None.

    ``sequence`` is the number of the first telemetry event of it. ``kind``: ``attempt``, ``resume``, ``timer``,
    ``rescue``, ``cancel``, ``fork``, ``pause``, ``unpause``. ``step`` is the step's key. ``outcome`` of an attempt: ``completed``, ``waiting``,
    ``again``, ``retrying``, ``failed``, ``discarded``; of a timer ``completed``, of a resume that or ``discarded``. Times are aware UTC datetimes on the
    clock of the store. ``by`` is who made the call, where the caller said so: ``resume(..., by="ada")``. ``run_id`` is the
    run that this one was made of (``fork``). ``round`` is that of an ``Again``; None in the first round, unless its outcome is
    ``again``. Of a step's ``again`` entries the first 100 and the last 100 are kept. One between them stands for the rest: its
    ``reason`` says for how many, and it has neither attempt nor round. ``compensates`` is the key of the step that ``step`` undoes.
    """

    sequence: int
    kind: str
    step: str | None = None
    attempt: int | None = None
    outcome: str | None = None
    event: str | None = None
    reason: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    worker: str | None = None
    task_id: str | None = None
    round: int | None = None
    by: str | None = None
    run_id: str | None = None
    compensates: str | None = None
