"""Reads of a run for a step, retried while the store is out of reach, for one lease at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from hephaestus_celery.clock import SYSTEM_CLOCK, Clock
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.queries import DataKind, Reader, StoredEntry, StoredRun

T = TypeVar("T")

_PAUSE = 0.2  # seconds


class RetryingReader:
    """A reader for attempts: it retries during an outage until the lease is over, then raises ``StorageError``."""

    def __init__(self, reader: Reader, *, lease: timedelta, clock: Clock = SYSTEM_CLOCK) -> None:
        self._reader = reader
        self._clock = clock
        self._longest = int(lease.total_seconds() * 1e9)

    def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        return self._until_there(lambda: self._reader.load(run_id, steps=steps))

    def read_initial(self, run_id: str) -> str:
        return self._until_there(lambda: self._reader.read_initial(run_id))

    def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        return self._until_there(lambda: self._reader.read_states(run_id, steps))

    def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        return self._until_there(lambda: self._reader.read_data(run_id, kind, steps))

    def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]:
        return self._until_there(lambda: self._reader.due_times(steps))

    def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]:
        return self._until_there(lambda: self._reader.history(run_id, after=after, limit=limit))

    def _until_there(self, ask: Callable[[], T]) -> T:
        deadline = self._clock.monotonic_ns() + self._longest
        while True:
            try:
                return ask()
            except StorageError:
                if self._clock.monotonic_ns() > deadline:
                    raise
                self._clock.sleep(_PAUSE)
