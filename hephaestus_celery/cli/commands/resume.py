"""The command ``celery -A shop hephaestus resume``: delivers an event to a waiting step."""

from __future__ import annotations

from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_argument import find_run_id, run_argument
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.text import printable


@options.example('resume order::A-1001 paid \'{"payer": "Ada"}\'')
@click.command("resume", short_help="Give an event to a waiting step.")
@run_argument
@click.argument("event", metavar="EVENT")
@click.argument("data", metavar="[JSON]", type=options.JsonMapping(), required=False)
@click.option("--step", metavar="STEP", help="The key of the step, where several wait for the event.")
@click.option("--keep-early", is_flag=True, help="Keep the event if no step waits for it yet.")
@click.option("--key", metavar="KEY", help="Names the event itself: one with this key is applied once.")
@options.by
@options.as_json
@options.quietly
@click.pass_context
def resume(
    context: click.Context,
    /,
    *,
    run: str,
    event: str,
    data: dict[str, Any] | None,
    step: str | None,
    keep_early: bool,
    key: str | None,
    by: str | None,
    as_document: bool,
    quiet: bool,
) -> None:
    """Deliver an event to the step that waits for it; a worker applies it.

    JSON is an object that becomes the result of the step; - reads it from standard input.
    """
    runtime = find_runtime(context)
    run_id = find_run_id(runtime, run)
    runtime.resume(run_id, event, data, step=step, keep_early=keep_early, key=key, by=by)
    screen = find_screen(context.obj)
    if as_document:
        screen.show(as_json({"run_id": run_id, "event": event}))
    else:
        screen.show(run_id if quiet else f"delivered {printable(event)!r} to {run_id}")
