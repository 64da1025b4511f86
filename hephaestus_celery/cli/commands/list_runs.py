"""The command ``celery -A shop hephaestus list``: pages of runs, and where each stands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.filters import filter_options, read_filters
from hephaestus_celery.cli.instance_documents import brief_document
from hephaestus_celery.cli.render.documents import as_json
from hephaestus_celery.cli.render.screen import Screen, find_screen
from hephaestus_celery.cli.render.tables import Cell, Column, show_table
from hephaestus_celery.cli.render.text import fitted, printable
from hephaestus_celery.cli.render.times import age, iso
from hephaestus_celery.cli.statuses import RUN_STYLES
from hephaestus_celery.cli.whereabouts import DueTimes, read_due_times, whereabouts
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.storage.codec import moment

_NARROW = 120
"""Columns of a terminal below which each run takes two lines."""
_DEFAULT_LIMIT = 50


@options.example("list --status failed --started-after 2h", "list --workflow OrderFlow --json")
@click.command("list", short_help="List runs, newest first.")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=_DEFAULT_LIMIT, show_default=True, help="Runs of a page.")
@click.option("--cursor", metavar="CURSOR", help="Where the page begins: what the page before it has told.")
@options.as_json
@options.quietly
@options.wide
@click.pass_context
def list_runs(context: click.Context, /, *, as_document: bool, quiet: bool, wide: bool, **given: Any) -> None:
    """List runs, newest first: all filters must match.

    It shows where each run stands: its active and waiting steps, since when, and the time of the next attempt or timeout.
    """
    runtime = find_runtime(context)
    page = runtime.list(limit=given["limit"], cursor=given["cursor"], **read_filters(given))
    instances = list(page)
    screen = find_screen(context.obj, wide=wide)
    if quiet:
        for instance in instances:
            screen.show(instance.run_id)
    else:
        due = read_due_times(instances, runtime.storage)
        if as_document:
            documents = [brief_document(instance, times) for instance, times in zip(instances, due, strict=True)]
            screen.show(as_json(documents))
        else:
            show_runs(screen, instances, due, now=moment(runtime.storage.now()))
    if page.next_cursor is not None:
        click.echo(f"there are more: --cursor {page.next_cursor}", err=True)


def show_runs(screen: Screen, instances: Sequence[Instance], due: Sequence[DueTimes], *, now: datetime) -> None:
    """Print runs as a table, on a narrow terminal in two lines each."""
    if not instances:
        if screen.people:
            screen.show("no runs match")
        return
    if screen.width is not None and screen.width < _NARROW:
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
    status, old = str(instance.status), age(instance.started_at, now=now)
    left = width - len(old) - 1
    text = fitted(printable(f"{instance.id}  {where}" if where else instance.id), left - len(status) - 2)
    screen.show(screen.cell(status, style, 10) + screen.cell(fitted(text, left - 10), "bold", left - 10) + " " + old)
    rest = f"{instance.run_id}  {printable(instance.workflow_name)}"
    screen.show(screen.styled("          " + fitted(rest, width - 10), "dim"))
