"""Values of reads: a run whole or in pieces, the rows of a listing, a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from hephaestus_celery.core.execution.listing import Filters
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.step_state import StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """What is stored of a run, but for its history. JSON texts stay texts; ``start`` is what the start key holds.

    It is as of one moment: ``sequence`` is the last event number given out by then, and a step whose ``order`` is larger
    completed later. Of a large run not all is here: ``lacks_steps`` where states of steps, ``lacks_data`` where results,
    metadata or configs are left out, and ``initial`` is None where the initial context is; see :class:`Reader`.
    """

    header: str
    initial: str | None
    status: Status
    started_at: int
    finished_at: int | None = None
    start: str | None = None
    sequence: int
    lacks_steps: bool = False
    lacks_data: bool = False
    steps: Mapping[str, StepState] = field(default_factory=dict[str, StepState])
    results: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    configs: Mapping[str, str] = field(default_factory=dict[str, str])
    failed_step: str | None = None
    failure: str | None = None
    cancel_reason: str | None = None
    message_headers: str | None = None
    active: int = 0
    applied: int = 0


class DataKind(StrEnum):
    """The data of steps, by the prefix of its fields."""

    RESULT = "r"
    METADATA = "m"
    CONFIG = "c"


class Reader(Protocol):
    """Reads what did not come with a run, in bounded calls. ``InstanceNotFoundError`` when the run is not there any more."""

    def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        """A run as it stands; None for an unknown one.

        All states of its steps are there, or, with ``steps``, surely those of these. Data is there where it is small.
        """
        ...

    def read_initial(self, run_id: str) -> str:
        """The initial context."""
        ...

    def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        """Where the steps of a run stand, or some of them: each as of one moment, not all as of the same."""
        ...

    def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        """The data of one kind that these steps have, by step."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """One line of a run's history; ``detail`` is the JSON text that the commit brought."""

    sequence: int
    outcome: str
    queued_at: int | None
    started_at: int | None
    finished_at: int | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Filters):
    """A page of runs, newest first: all filters must match. ``cursor`` is from a page before."""

    limit: int = 100
    cursor: str | None = None
