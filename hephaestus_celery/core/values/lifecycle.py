"""The statuses of a run and of a step, and which of them are final."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The status of a run; derived from its steps, see :func:`derive`."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Nothing changes a run in a final status."""
        return self in FINAL


class StepStatus(StrEnum):
    """The status of one step of a run; a step that nothing has reached yet has none."""

    ACTIVE = "active"
    WAITING = "waiting"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
LIVE = frozenset(Status) - FINAL


def derive(*, active: int, waiting: int) -> Status:
    """The status of a taken run that has not ended, from the number of its active and waiting steps."""
    if active or not waiting:
        return Status.RUNNING
    return Status.WAITING
