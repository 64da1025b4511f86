"""How a step of a run stands, as a word."""

from __future__ import annotations

from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.core.values.step_state import StepState


def standing_of(state: StepState | None, status: Status) -> str:
    """The word for how a step stands in a run of this status."""
    if state is None:
        return "not reached"
    if state.status not in (StepStatus.ACTIVE, StepStatus.WAITING):
        # A step whose failure a transition took has completed with that.
        return "failed, went on" if state.event == FAILED else str(state.status)
    if status.final:
        return "stopped"
    if state.fence is not None:
        return "executing"
    if state.backing_off and not state.between_rounds:
        return "backing off"
    return "waiting" if state.waits else "held" if state.held is not None else "queued"


def with_purpose(key: str, compensates: str | None) -> str:
    """The key of a step; of a compensation with the step that it undoes."""
    return f"{key} (undoes {compensates})" if compensates else key
