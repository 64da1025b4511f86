"""The command ``celery -A shop hephaestus delete``: deletes an ended run, or all that match filters."""

from __future__ import annotations

from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.many import Bulk, Manner, act_on_many, check_target, quietly, run_or_filters, yes
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_argument import find_run_id
from hephaestus_celery.reports.documents import as_json


@options.example("delete order::A-1001", "delete --status completed --started-before 30d --yes")
@click.command("delete", short_help="Delete an ended run, or many.")
@run_or_filters
@yes
@options.as_json
@quietly
@click.pass_context
def delete(
    context: click.Context, /, *, run: str | None, yes: bool, as_document: bool, quiet: bool, **given: Any
) -> None:
    """Delete all that is stored of an ended run: data, history, timers, its place in lists.

    An instance id means its newest run. Without RUN, all ended runs that match the filters are deleted; active ones are refused.
    """
    check_target(run, given)
    runtime = find_runtime(context)
    if run is None:
        bulk = Bulk(verb="delete", past="deleted", act=runtime.delete_many)
        act_on_many(context, runtime, bulk, given, Manner(yes=yes, as_document=as_document, quiet=quiet))
        return
    run_id = find_run_id(runtime, run, newest=True)
    runtime.delete(run_id)
    screen = find_screen(context.obj)
    if as_document:
        screen.show(as_json({"run_id": run_id, "deleted": True}))
    else:
        screen.show(run_id if quiet else f"deleted {run_id}")
