"""How the steps of a run stand, as marks for its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.pictures.marks import StepMark
from hephaestus_celery.reports.standing import standing_of
from hephaestus_celery.reports.steps import durations
from hephaestus_celery.reports.times import length
from hephaestus_celery.storage.codec import moment


def marks_of(instance: Instance, *, now: datetime, entries: Sequence[HistoryEntry] = ()) -> Mapping[str, StepMark]:
    """A mark for each step that the run has reached, by key; ``entries`` are its history, for how long completed steps took."""
    took = durations(entries)
    found: dict[str, StepMark] = {}
    for key, state in instance.step_states.items():
        word = _word(state, standing_of(state, instance.status))
        found[key] = StepMark(word=word, detail="" if key == DONE else _detail(state, word, took.get(key), now))
    return found


def _word(state: StepState, word: str) -> str:
    if state.compensates is None:
        return word
    if state.status is StepStatus.COMPLETED:
        return "undone"
    return "undoing" if word == "executing" else word


def _detail(state: StepState, word: str, took: timedelta | None, now: datetime) -> str:
    parts: list[str] = []
    since = {"executing": state.claimed_at, "undoing": state.claimed_at, "waiting": state.waiting_since}.get(word)
    if since is not None:
        parts.append(length(now - moment(since)))
    elif took is not None and word in ("completed", "undone", "failed", "failed, went on"):
        parts.append(length(took))
    if state.round > 1:
        parts.append(f"round {state.round}")
    if state.attempt > 1:
        parts.append(f"{state.attempt} of {state.max_attempts}" if word != "completed" else f"attempt {state.attempt}")
    return ", ".join(parts)
