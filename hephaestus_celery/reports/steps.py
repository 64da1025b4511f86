"""The steps of a run in words: their order, how each stands, how long it took, and where it leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.step_state import StepState


def ordered_keys(graph: Graph, instance: Instance) -> list[str]:
    """The keys of a run's steps in topological order; then the compensations, in the order of undoing, where it undoes something."""
    undoing = dict.fromkeys(other for _, other in instance.undone) if instance.undoes else {}
    return [*(step.key for step in graph.topological_order), *(key for key in undoing if key in graph.by_key)]


def standing_text(word: str, state: StepState | None) -> str:
    """The word for how a step stands, with its round and attempt."""
    if state is None:
        return word
    text = f"{word}, round {state.round}" if state.round > 1 else word
    if state.attempt <= 1:
        return text
    if word == "completed":
        return f"{text}, attempt {state.attempt}"
    return f"{text}, attempt {state.attempt} of {state.max_attempts}"


def edges_text(graph: Graph, key: str, state: StepState | None, arrow: str) -> str:
    """Where each event of a step leads; of a step that has given one, where that has led."""
    step = graph.by_key[key]
    if step in graph.compensating:
        return f"undoes {next(undone.key for undone, other in graph.compensations.items() if other is step)}"
    events = graph.events(step)
    if state is not None and state.event in events:
        events = (state.event,)
    parts: list[str] = []
    for event in events:
        chosen = (step, event) in graph.dynamic
        targets = [target.step.key for target in graph.table[step, event]]
        if chosen and state is not None and state.targets is not None:
            chosen, targets = False, list(state.targets)
        parts.append(f"{event} {arrow} {'?' if chosen else ''}{', '.join(targets)}")
    return "; ".join(parts)


def durations(entries: Sequence[HistoryEntry]) -> Mapping[str, timedelta]:
    """How long the last attempt of each step took, by key."""
    return {
        entry.step: entry.finished_at - entry.started_at
        for entry in entries
        if entry.kind == "attempt" and entry.step and entry.started_at and entry.finished_at
    }
