"""The pause of a run or of a whole workflow: who has paused it, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PausedBy(StrEnum):
    """What a pause was set for."""

    RUN = "run"
    WORKFLOW = "workflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One reason for which a run is paused: its own pause, or that of its workflow.

    ``since`` is an aware UTC datetime on the clock of the store; ``by`` is who has paused it, None if that was not said.
    """

    reason: PausedBy
    since: datetime
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseMark:
    """A pause as stores keep it; ``at`` is in microseconds on the clock of the store."""

    at: int
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """The pauses that hold a run: its own, and that of its workflow; None where there is none."""

    run: PauseMark | None = None
    workflow: PauseMark | None = None

    def __bool__(self) -> bool:
        """Whether anything holds the run."""
        return self.run is not None or self.workflow is not None


NOT_PAUSED = Pauses()
