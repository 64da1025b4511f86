"""The picture of a run: its graph as text, with how each step stands, by symbol, word and colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.cli.render.tables import Cell, Column, show_rows
from hephaestus_celery.cli.render.times import length
from hephaestus_celery.cli.statuses import STEP_STYLES, standing_of, symbol
from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.definition.registry import find_definition
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.codec import moment

MOST_STEPS = 200
"""Steps that are shown of a larger run, unless all are asked for."""
_COLUMNS = (
    Column(heading="step", flexible=True),
    Column(heading="standing", flexible=True),
    Column(heading="took", right=True),
    Column(heading="leads to", flexible=True),
)


def show_picture(
    screen: Screen,
    instance: Instance,
    entries: Sequence[HistoryEntry],
    *,
    now: datetime,
    full: bool,
    most: int = MOST_STEPS,
) -> None:
    """Print a line for each step, in topological order; of more than ``most``, those around the ones that move."""
    definition = find_definition(instance)
    graph = None if definition is None else definition.graph
    keys = list(instance.step_states) if graph is None else _keys(graph, instance)
    shown = keys if full else _around_moving(keys, instance, most)
    took = _durations(entries)
    rows = [_row(screen, instance, key, graph, took.get(key), now=now) for key in shown]
    show_rows(screen, _COLUMNS, rows, indent=2)
    if len(shown) < len(keys):
        screen.show(f"  and {len(keys) - len(shown):,} more steps: --full")


def _keys(graph: Graph, instance: Instance) -> list[str]:
    # In topological order; then the compensations, in the order of undoing, where the run undoes something.
    undoing = dict.fromkeys(other for _, other in instance.undone) if instance.undoes else {}
    return [*(step.key for step in graph.topological_order), *(key for key in undoing if key in graph.by_key)]


def _around_moving(keys: Sequence[str], instance: Instance, most: int) -> Sequence[str]:
    # Some of a step before the first one that moves or has failed, and what follows it.
    if len(keys) <= most:
        return keys
    live = (StepStatus.ACTIVE, StepStatus.WAITING, StepStatus.FAILED)
    states = instance.step_states
    first = next((number for number, key in enumerate(keys) if key in states and states[key].status in live), 0)
    begin = max(0, min(first - most // 4, len(keys) - most))
    return keys[begin : begin + most]


def _row(
    screen: Screen,
    instance: Instance,
    key: str,
    graph: Graph | None,
    took: timedelta | None,
    *,
    now: datetime,
) -> Sequence[Cell | str]:
    state = instance.step_states.get(key)
    word = standing_of(state, instance.status)
    style = STEP_STYLES[word]
    duration = took
    if state is not None and word == "executing" and state.claimed_at is not None:
        duration = now - moment(state.claimed_at)
    return (
        Cell(f"{symbol(word, screen)} {key}", style),
        Cell(_standing(word, state), style),
        Cell("" if duration is None or key == DONE else length(duration), "dim"),
        "" if graph is None else _edges(graph, key, state, "→" if screen.symbols else "->"),
    )


def _standing(word: str, state: StepState | None) -> str:
    if state is None:
        return word
    text = f"{word}, round {state.round}" if state.round > 1 else word
    if state.attempt <= 1:
        return text
    if word == "completed":
        return f"{text}, attempt {state.attempt}"
    return f"{text}, attempt {state.attempt} of {state.max_attempts}"


def _edges(graph: Graph, key: str, state: StepState | None, arrow: str) -> str:
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


def _durations(entries: Sequence[HistoryEntry]) -> Mapping[str, timedelta]:
    # How long the last attempt of each step took.
    return {
        entry.step: entry.finished_at - entry.started_at
        for entry in entries
        if entry.kind == "attempt" and entry.step and entry.started_at and entry.finished_at
    }
