"""How commands show statuses: a symbol, a word and a colour each."""

from __future__ import annotations

from collections.abc import Mapping

from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.core.values.step_state import StepState

RUN_STYLES: Mapping[Status, str] = {
    Status.PENDING: "dim",
    Status.RUNNING: "cyan",
    Status.WAITING: "magenta",
    Status.COMPLETED: "green",
    Status.FAILED: "red bold",
    Status.CANCELLED: "dim",
}
STEP_STYLES: Mapping[str, str] = {
    "completed": "green",
    "failed, went on": "red",
    "executing": "cyan bold",
    "queued": "cyan",
    "held": "magenta bold",
    "backing off": "magenta bold",
    "waiting": "magenta",
    "failed": "red bold",
    "skipped": "dim",
    "stopped": "dim",
    "not reached": "dim",
}
_SYMBOLS: Mapping[str, tuple[str, str]] = {
    "completed": ("✓", "+"),
    "failed, went on": ("✗", "x"),
    "executing": ("●", "*"),
    "queued": ("○", "o"),
    "held": ("○", "o"),
    "backing off": ("↻", "~"),
    "waiting": ("◆", "?"),
    "failed": ("✗", "x"),
    "skipped": ("-", "-"),
    "stopped": ("-", "-"),
    "not reached": ("·", "."),
}


def symbol(word: str, screen: Screen) -> str:
    """The symbol of a step's standing."""
    return _SYMBOLS[word][0 if screen.symbols else 1]


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
