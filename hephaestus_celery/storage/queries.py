"""Values of reads: a run whole or in pieces, the rows of a listing, a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from hephaestus_celery.core.execution.joins import Shortfall
from hephaestus_celery.core.execution.listing import Filters
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.pause import NOT_PAUSED, Pauses
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.undo import Undoing


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A stored run without its history. JSON texts stay texts; ``start`` is the value of the start key.

    It shows one moment: ``sequence`` is the last event number given out by then, and a step with a larger ``order``
    completed later. A large run is not complete here. ``lacks_steps`` says that states of steps are left out, ``lacks_data``
    that results, metadata or configs are; ``initial`` is None if the initial context is. :class:`Reader` reads them.
    ``round_states`` are what rounds of an ``Again`` were given; of a large run, at least that of the step which is claimed.
    ``pauses`` has the pause of its workflow only where the run was loaded to be shown. ``shortfall`` is the last counted join
    that was skipped: if no step has failed the run, that is why it failed. ``deadline`` is in microseconds from the start. ``undo``
    has how completed steps are undone, as :class:`~hephaestus_celery.core.values.undo.Undo` writes it, by their numbers from 1 on;
    ``undo_count`` is the last number, None if the workflow has no compensations.
    ``due`` and ``entries`` have what standings of steps need, where it was read too: when steps come due, and the history by number.
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
    round_states: Mapping[str, str] = field(default_factory=dict[str, str])
    failed_step: str | None = None
    failure: str | None = None
    cancel_reason: str | None = None
    retried_as: str | None = None
    message_headers: str | None = None
    active: int = 0
    applied: int = 0
    pauses: Pauses = NOT_PAUSED
    shortfall: Shortfall | None = None
    deadline: int | None = None
    undo: Mapping[str, str] = field(default_factory=dict[str, str])
    undo_count: int | None = None
    undoing: Undoing | None = None
    due: Mapping[str, int | None] | None = None
    entries: Mapping[int, StoredEntry] | None = None


class DataKind(StrEnum):
    """The data of steps, by the prefix of its fields; that of ``UNDO`` is by number."""

    RESULT = "r"
    METADATA = "m"
    CONFIG = "c"
    ROUND_STATE = "a"
    UNDO = "u"


class Reader(Protocol):
    """Reads data that did not come with a run, in bounded calls. ``InstanceNotFoundError`` if the run is gone."""

    def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        """A run as it stands; None for an unknown run.

        It has the states of all steps or, with ``steps``, at least of these. It has its data if that is small.
        """
        ...

    def read_initial(self, run_id: str) -> str:
        """The initial context."""
        ...

    def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        """The states of all or some steps of a run. Different states may be from different moments."""
        ...

    def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        """The data of one kind that these steps have, by step."""
        ...

    def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]:
        """When the due entry of each step of these runs comes due; None where it has none."""
        ...

    def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]:
        """Entries of a run's history with a number above ``after``."""
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
    """Asks for a page of runs, newest first: all filters must match. ``cursor`` comes from the page before."""

    limit: int = 100
    cursor: str | None = None
