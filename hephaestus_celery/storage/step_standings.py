"""Reads what the standing of a step needs beside its state: when it comes due, or the history entry of its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.lazy import Makers
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.async_port import AsyncStorage
from hephaestus_celery.storage.codec import moment
from hephaestus_celery.storage.history_entries import decode_entry
from hephaestus_celery.storage.queries import Reader, StoredEntry, StoredRun

_MOVING = (StepStatus.ACTIVE, StepStatus.WAITING)
_BEFORE_DONE = 2
"""How far the history entry of ``Done`` is before the number of its completion: other events of the end lie between."""
MOST_ENTRIES = 200
"""Entries of a history that are read at once; also, with steps that come due, before for an event loop."""


@dataclass(frozen=True, kw_only=True)
class StandingReader:
    """Reads for one run. ``due`` and ``entries`` were read before; None where nothing was. ``undoes``: it undoes, or has undone."""

    run_id: str
    status: Status
    undoes: bool
    reader: Reader | None
    due: Mapping[str, int | None] | None = None
    entries: Mapping[int, StoredEntry] | None = None

    def far(self, key: str, state: StepState) -> Makers:
        """What is made of a step in this state when it is first accessed."""
        if state.status in _MOVING:
            return {} if self.status.final else {"due_at": lambda: self._due_at(key)}
        if state.status is StepStatus.FAILED and self.undoes:
            return {"finished_at": lambda: self._failed_at(key)}
        if state.status is not StepStatus.COMPLETED:
            return {}
        completion = _Completion(self, key, state)
        makers: dict[str, Callable[[], Any]] = {
            "queued_at": lambda: completion.entry and completion.entry.queued_at,
            "started_at": lambda: completion.entry and completion.entry.started_at,
            "finished_at": lambda: completion.entry and completion.entry.finished_at,
            "worker": lambda: completion.entry and completion.entry.worker,
        }
        return makers

    def _due_at(self, key: str) -> Any:
        if self.due is not None and key in self.due:
            at = self.due[key]
        elif self.reader is None:
            return None
        else:
            [at] = self.reader.due_times([(self.run_id, Activation.parse(key))])
        return None if at is None else moment(at)

    def _failed_at(self, key: str) -> Any:
        # Its run has gone on after the failure, and its state has no number of an entry: the history is read by pages.
        page: Sequence[StoredEntry] = tuple((self.entries or {}).values())
        while True:
            for found in page:
                entry = decode_entry(found, run_id=self.run_id)
                if entry.step == key and entry.outcome == "failed":
                    return entry.finished_at
            after = page[-1].sequence if page else 0
            page = () if self.reader is None else self.reader.history(self.run_id, after=after, limit=MOST_ENTRIES)
            if not page:
                return None

    def find_entry(self, key: str, state: StepState) -> HistoryEntry | None:
        """The history entry of the completion of a step; None if an earlier run has it."""
        number = (state.order or 0) - (_BEFORE_DONE if key == DONE else 0)
        if number <= 0:
            return None
        found = None if self.entries is None else self.entries.get(number)
        if found is None and self.reader is not None:
            page = self.reader.history(self.run_id, after=number - 1, limit=1)
            found = next((entry for entry in page if entry.sequence == number), None)
        return None if found is None else decode_entry(found, run_id=self.run_id)


@dataclass(frozen=True)
class _Completion:
    """The history entry of a completed step, read once."""

    reader: StandingReader
    key: str
    state: StepState

    @cached_property
    def entry(self) -> HistoryEntry | None:
        return self.reader.find_entry(self.key, self.state)


async def with_standings(run: StoredRun, *, run_id: str, storage: AsyncStorage) -> StoredRun:
    """The same run with what the standings of its steps need, in two bounded calls at most: an event loop reads nothing later."""
    moving = [key for key, state in run.steps.items() if state.status in _MOVING and not run.status.final]
    asked = moving[:MOST_ENTRIES]
    times = await storage.due_times([(run_id, Activation.parse(key)) for key in asked]) if asked else ()
    completed = any(state.order is not None for state in run.steps.values())
    entries = await storage.history(run_id, limit=MOST_ENTRIES) if completed else ()
    return replace(
        run,
        due=dict(zip(asked, times, strict=True)),
        entries={entry.sequence: entry for entry in entries},
    )
