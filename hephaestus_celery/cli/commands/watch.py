"""The command ``celery -A shop hephaestus watch``: one run, or all of them, live."""

from __future__ import annotations

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.commands.wait import end_with
from hephaestus_celery.cli.following import follow
from hephaestus_celery.cli.live_run import Documents, shown_on
from hephaestus_celery.cli.render.live import signals_as_exit_codes
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_argument import find_run_id
from hephaestus_celery.cli.watching import DEFAULT_RUNS, watch_all


@options.example("watch", "watch order::A-1001", "watch --json")
@click.command("watch", short_help="Show a run, or all of them, live.")
@click.argument("run", metavar="[RUN]", required=False)
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1000),
    help=f"Without RUN: how many of the newest runs are looked at; as many as fit, in a pipe {DEFAULT_RUNS}.",
)
@options.as_json
@options.wide
@click.pass_context
def watch(context: click.Context, /, *, run: str | None, limit: int | None, as_document: bool, wide: bool) -> None:
    """Show a run live, as `show` does; without RUN the newest runs, how many there are by status, and steps per second.

    A terminal is drawn in place, once a second. In a pipe each change is a line, with --json each line is a document. It ends
    with the run, and the exit code says how that ended: 0 completed, 10 failed, 11 cancelled. Without RUN it goes on until
    Ctrl-C. While the store is out of reach, it says so and goes on.
    """
    runtime = find_runtime(context)
    screen = find_screen(context.obj, wide=wide)
    if run is None:
        watch_all(context, runtime, screen, limit=limit, as_document=as_document)
        return
    if limit is not None:
        raise click.UsageError("--limit is for all runs, without RUN")
    run_id = find_run_id(runtime, run)
    with signals_as_exit_codes(context):
        instance = follow(runtime, run_id, Documents(screen) if as_document else shown_on(screen), timeout=None)
    end_with(context, instance, screen, silent=as_document)
