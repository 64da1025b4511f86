"""The command ``celery -A shop hephaestus cancel``: ends a run."""

from __future__ import annotations

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.render.documents import as_json
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_argument import find_run_id, run_argument


@options.example('cancel order::A-1001 --reason "ordered twice"')
@click.command("cancel")
@run_argument
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
@click.option("--terminate", is_flag=True, help="Interrupt the steps that are being executed, where their pool can.")
@options.as_json
@options.quietly
@click.pass_context
def cancel(
    context: click.Context,
    /,
    *,
    run: str,
    reason: str | None,
    terminate: bool,
    as_document: bool,
    quiet: bool,
) -> None:
    """End a run: no step of it starts any more, and its id is free at once.

    What is being executed goes on, and its result is discarded.
    """
    runtime = find_runtime(context)
    run_id = find_run_id(runtime, run)
    report = runtime.cancel(run_id, reason, terminate=terminate)
    screen = find_screen(context.obj)
    if as_document:
        screen.show(
            as_json(
                {
                    "run_id": run_id,
                    "status": "cancelled",
                    "executing": report.executing,
                    "interrupted": report.interrupted,
                }
            )
        )
    elif quiet:
        screen.show(run_id)
    else:
        left = sorted(set(report.executing) - set(report.interrupted))
        screen.show(f"cancelled {run_id}" + (f"; still being executed: {', '.join(left)}" if left else ""))
