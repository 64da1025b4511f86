"""The picture of a run: its graph as text, with how each step stands, by symbol, word and colour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.cli.render.tables import Cell, Column, show_rows
from hephaestus_celery.cli.statuses import STEP_STYLES, symbol
from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.definition.registry import find_definition
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.reports.standing import standing_of
from hephaestus_celery.reports.steps import durations, edges_text, ordered_keys, standing_text
from hephaestus_celery.reports.times import length
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
    keys = list(instance.step_states) if graph is None else ordered_keys(graph, instance)
    shown = keys if full else _around_moving(keys, instance, most)
    took = durations(entries)
    rows = [_row(screen, instance, key, graph, took.get(key), now=now) for key in shown]
    show_rows(screen, _COLUMNS, rows, indent=2)
    if len(shown) < len(keys):
        screen.show(f"  and {len(keys) - len(shown):,} more steps: --full")


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
        Cell(standing_text(word, state), style),
        Cell("" if duration is None or key == DONE else length(duration), "dim"),
        "" if graph is None else edges_text(graph, key, state, "→" if screen.symbols else "->"),
    )
