"""The command ``celery -A shop hephaestus list``: pages of runs, and where each stands."""

from __future__ import annotations

from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.filters import filter_options, read_filters
from hephaestus_celery.cli.instance_documents import brief_document
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_list import show_runs
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.whereabouts import read_due_times
from hephaestus_celery.storage.codec import moment

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
