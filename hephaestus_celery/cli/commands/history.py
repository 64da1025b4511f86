"""The command ``celery -A shop hephaestus history``: every entry of one run's history."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.render.screen import Screen, find_screen
from hephaestus_celery.cli.render.tables import Cell, Column, fits, show_table
from hephaestus_celery.cli.run_argument import find_run_id, run_argument
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.reports.documents import as_json, plain
from hephaestus_celery.reports.standing import with_purpose
from hephaestus_celery.reports.times import iso, length
from hephaestus_celery.storage.codec import moment

_NARROW = 120
"""Columns of a terminal below which some are left out."""
_LEFT_OUT = {"waited", "worker"}
_UNDER = {"by", "of run", "reason"}
"""Columns that stand under their row on such a terminal, where it is too narrow for them beside the others."""
Row = Sequence[Cell | str]
_COLUMNS = (
    Column(heading="seq", right=True),
    Column(heading="time"),
    Column(heading="kind"),
    Column(heading="step", flexible=True),
    Column(heading="round", right=True),
    Column(heading="try", right=True),
    Column(heading="outcome"),
    Column(heading="event", flexible=True),
    Column(heading="waited", right=True),
    Column(heading="took", right=True),
    Column(heading="worker", flexible=True),
    Column(heading="by", flexible=True),
    Column(heading="of run", flexible=True),
    Column(heading="reason", flexible=True),
)
OUTCOME_STYLES = {
    "completed": "green",
    "waiting": "magenta",
    "again": "magenta",
    "retrying": "magenta bold",
    "failed": "red bold",
    "discarded": "dim",
}


@options.example("history order::A-1001", "history 019a3f6c --json", "history 019a3f6c --svg > run.svg")
@click.command("history", short_help="Show all that happened in a run.")
@run_argument
@click.option(
    "--svg", is_flag=True, help="Print it as a picture, for browsers: a row for each step, on an axis of time."
)
@options.as_json
@options.wide
@click.pass_context
def history(context: click.Context, /, *, run: str, svg: bool, as_document: bool, wide: bool) -> None:
    """Show every entry of a run's history, in the order of its commits.

    An entry is one attempt, resume, timer, rescue, cancellation, pause or its end; a run that was made of another one
    begins with a fork, and OF RUN names that one. SEQ is the number of its first telemetry event: an entry may have several,
    so there are gaps. ROUND is that of a step which answers Again, TRY is the number of the attempt, WAITED how long it waited for a worker.
    """
    if svg and as_document:
        raise click.UsageError("--svg and --json exclude each other")
    runtime = find_runtime(context)
    run_id = find_run_id(runtime, run)
    entries = runtime.history(run_id)
    screen = find_screen(context.obj, wide=wide)
    if svg:
        screen.show(_picture(runtime, run_id, entries))
    elif as_document:
        screen.show(as_json([plain(entry) for entry in entries]))
    else:
        show_history(screen, entries)


def _picture(runtime: Hephaestus, run_id: str, entries: Sequence[HistoryEntry]) -> str:
    # A table does not wait for what a picture needs.
    from hephaestus_celery.pictures.timeline import timeline_svg
    from hephaestus_celery.pictures.view import TimelineView

    instance, now = runtime.get(run_id), moment(runtime.storage.now())
    title = f"{instance.id}, {instance.status}"
    return timeline_svg(instance, entries, now=now, title=title, view=TimelineView(most=None), standalone=True)


def show_history(screen: Screen, entries: Sequence[HistoryEntry]) -> None:
    """Print a history as a table."""
    if not entries:
        if screen.people:
            screen.show("nothing has happened yet")
        return
    rows = [_row(screen, entry) for entry in entries]
    left_out = _LEFT_OUT if screen.width is not None and screen.width < _NARROW else set[str]()
    columns, cells = _without(left_out, rows)
    if fits(screen, columns, cells) or not left_out:
        show_table(screen, columns, cells)
        return
    columns, cells = _without(left_out | _UNDER, [_row(screen, replace(entry, compensates=None)) for entry in entries])
    show_table(screen, columns, cells, notes=[_note(entry) for entry in entries])


def _without(left_out: Collection[str], rows: Sequence[Row]) -> tuple[list[Column], list[Row]]:
    kept = [number for number, column in enumerate(_COLUMNS) if column.heading not in left_out]
    return [_COLUMNS[number] for number in kept], [[row[number] for number in kept] for row in rows]


def _note(entry: HistoryEntry) -> str:
    # What a narrow terminal has no columns for.
    parts = (
        f"undoes {entry.compensates}" if entry.compensates else None,
        f"by {entry.by}" if entry.by else None,
        f"of run {entry.run_id}" if entry.run_id else None,
        entry.reason,
    )
    return "; ".join(part for part in parts if part)


def _row(screen: Screen, entry: HistoryEntry) -> Row:
    at = entry.finished_at or entry.started_at or entry.queued_at
    moment = "" if at is None else f"{at:%H:%M:%S}" if screen.people and screen.width is not None else iso(at)
    waited = entry.started_at - entry.queued_at if entry.queued_at and entry.started_at else None
    took = entry.finished_at - entry.started_at if entry.started_at and entry.finished_at else None
    return (
        str(entry.sequence),
        Cell(moment, "dim"),
        entry.kind,
        with_purpose(entry.step or "", entry.compensates),
        "" if entry.round is None else str(entry.round),
        "" if entry.attempt is None else str(entry.attempt),
        Cell(entry.outcome or "", OUTCOME_STYLES.get(entry.outcome or "", "")),
        entry.event or "",
        "" if waited is None else length(waited),
        "" if took is None else length(took),
        entry.worker or "",
        entry.by or "",
        Cell(entry.run_id or "", "dim"),
        entry.reason or "",
    )
