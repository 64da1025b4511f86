"""The command ``celery -A shop hephaestus start``: starts a run, and follows it with ``--wait``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime, find_workflow
from hephaestus_celery.cli.commands.wait import end_with
from hephaestus_celery.cli.completion import complete_workflows
from hephaestus_celery.cli.following import follow
from hephaestus_celery.cli.instance_documents import whole_document
from hephaestus_celery.cli.live_run import Nowhere, shown_on
from hephaestus_celery.cli.render.live import signals_as_exit_codes
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.reports.documents import as_json


@options.example("start OrderFlow A-1001 '{\"items\": 3}' --wait")
@click.command("start", short_help="Start a run, and follow it with --wait.")
@click.argument("workflow", metavar="WORKFLOW", shell_complete=complete_workflows)
@click.argument("value", metavar="VALUE")
@click.argument("data", metavar="[JSON]", type=options.JsonMapping(), required=False)
@click.option("--version", type=click.IntRange(min=1), help="Start this version of the workflow.")
@click.option("--wait", "waits", is_flag=True, help="Show the run live, and exit as it ends.")
@click.option(
    "--timeout", type=options.Duration(), metavar="TIME", help="With --wait: wait at most so long, as in 90s or 5m."
)
@options.as_json
@options.quietly
@click.pass_context
def start(
    context: click.Context,
    /,
    *,
    workflow: str,
    value: str,
    data: dict[str, Any] | None,
    version: int | None,
    waits: bool,
    timeout: timedelta | None,
    as_document: bool,
    quiet: bool,
) -> None:
    """Start a run of WORKFLOW whose id has this VALUE, with JSON as its initial context; - reads it from standard input.

    With --wait the exit code says how the run ended: 0 completed, 10 failed, 11 cancelled, 12 the time is over.
    """
    if timeout is not None and not waits:
        raise click.UsageError("--timeout is for --wait")
    runtime = find_runtime(context)
    handle = runtime.start_instance(find_workflow(workflow), data, id=value, version=version)
    screen = find_screen(context.obj)
    if not waits:
        if as_document:
            screen.show(as_json({"id": handle.id, "run_id": handle.run_id}))
        else:
            screen.show(handle.run_id if quiet else f"started {handle.id} as run {handle.run_id}")
        return
    silent = as_document or quiet
    if not silent:
        screen.show(f"started {handle.id} as run {handle.run_id}")
    elif quiet:
        screen.show(handle.run_id)
    shown = Nowhere() if silent else shown_on(screen)
    with signals_as_exit_codes(context):
        instance = follow(runtime, handle.run_id, shown, timeout=timeout)
    if as_document:
        screen.show(as_json(whole_document(instance, {})))
    end_with(context, instance, screen, silent=silent)
