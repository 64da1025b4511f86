"""A list of runs: where each stands, as a table, or in two lines each on a narrow terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.cli.render.tables import Cell, Column, show_table
from hephaestus_celery.cli.statuses import RUN_STYLES
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.reports.text import columns, fitted, printable
from hephaestus_celery.reports.times import age, iso
from hephaestus_celery.reports.whereabouts import DueTimes, whereabouts

NARROW = 120
"""Columns of a terminal below which each run takes two lines."""

_STATUS = 10


def show_runs(screen: Screen, instances: Sequence[Instance], due: Sequence[DueTimes], *, now: datetime) -> None:
    """Print runs as a table, on a narrow terminal in two lines each."""
    if not instances:
        if screen.people:
            screen.show("no runs match")
        return
    if screen.width is not None and screen.width < NARROW:
        for instance, times in zip(instances, due, strict=True):
            _show_in_two_lines(screen, screen.width, instance, whereabouts(instance, times, now=now), now=now)
        return
    rows = [
        (
            Cell(instance.run_id, "dim"),
            instance.id,
            instance.workflow_name,
            Cell(instance.status, RUN_STYLES[instance.status]),
            age(instance.started_at, now=now) if screen.people else iso(instance.started_at),
            whereabouts(instance, times, now=now),
        )
        for instance, times in zip(instances, due, strict=True)
    ]
    headings = (
        Column(heading="run id"),
        Column(heading="id", flexible=True),
        Column(heading="workflow", flexible=True),
        Column(heading="status"),
        Column(heading="age" if screen.people else "started at", right=screen.people),
        Column(heading="where", flexible=True),
    )
    show_table(screen, headings, rows)


def _show_in_two_lines(screen: Screen, width: int, instance: Instance, where: str, *, now: datetime) -> None:
    style = RUN_STYLES[instance.status]
    status, old = str(instance.status), f"{age(instance.started_at, now=now)} old"
    name, where = printable(instance.id), printable(where)
    room = width - _STATUS - len(old) - 1
    where = fitted(where, room // 2 if columns(where) <= room // 2 else max(room // 2, room - columns(name) - 2))
    name = fitted(name, room - (columns(where) + 2 if where else 0))
    named = screen.cell(name, "bold", room - (columns(where) + 2 if where else 0))
    screen.show(f"{screen.cell(status, style, _STATUS)}{named}{f'  {where}' if where else ''} {old}")
    rest = f"{instance.run_id}  {printable(instance.workflow_name)}"
    screen.show(screen.styled(" " * _STATUS + fitted(rest, width - _STATUS), "dim"))
