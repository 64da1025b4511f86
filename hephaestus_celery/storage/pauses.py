"""Values of pauses: a run is paused or goes on, and what came of that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.queries import StoredRun


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRequest:
    """A caller pauses a run, or lets it go on. ``by`` is who does it; ``entry`` is the JSON text for the history."""

    run_id: str
    operation: str
    entry: str
    durations: Durations
    by: str | None = None


class PauseOutcome(StrEnum):
    """What came of it."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"  # it was paused already, or was not
    ENDED = "ended"  # the run has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseReport:
    """What came of a pause or its end. If something was changed, ``sequence`` is the number of its event, and ``run`` the run."""

    outcome: PauseOutcome
    sequence: int = 0
    run: StoredRun | None = None
