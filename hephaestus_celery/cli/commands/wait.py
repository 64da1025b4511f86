"""The command ``celery -A shop hephaestus wait``: follows a run, and exits as it ends."""

from __future__ import annotations

from datetime import timedelta

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.following import exit_code_of, follow
from hephaestus_celery.cli.instance_documents import whole_document
from hephaestus_celery.cli.live_run import Nowhere, shown_on
from hephaestus_celery.cli.render.live import signals_as_exit_codes
from hephaestus_celery.cli.render.screen import Screen, find_screen
from hephaestus_celery.cli.run_argument import find_run_id, run_argument
from hephaestus_celery.cli.statuses import RUN_STYLES
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.text import columns, fitted, printable
from hephaestus_celery.reports.times import length


@options.example("wait order::A-1001 --timeout 5m")
@click.command("wait", short_help="Follow a run until it ends.")
@run_argument
@click.option("--timeout", type=options.Duration(), metavar="TIME", help="Wait at most so long, as in 90s or 5m.")
@options.as_json
@options.quietly
@click.pass_context
def wait(context: click.Context, /, *, run: str, timeout: timedelta | None, as_document: bool, quiet: bool) -> None:
    """Show a run live until it ends.

    The exit code says how it ended: 0 completed, 10 failed, 11 cancelled, 12 the time is over.
    """
    runtime = find_runtime(context)
    run_id = find_run_id(runtime, run)
    screen = find_screen(context.obj)
    silent = as_document or quiet
    shown = Nowhere() if silent else shown_on(screen)
    with signals_as_exit_codes(context):
        instance = follow(runtime, run_id, shown, timeout=timeout)
    if as_document:
        screen.show(as_json(whole_document(instance, {})))
    elif quiet:
        screen.show(run_id)
    end_with(context, instance, screen, silent=silent)


def end_with(context: click.Context, instance: Instance, screen: Screen, *, silent: bool) -> None:
    """Say how a run ended, and exit so."""
    if not silent:
        took = "" if instance.finished_at is None else f" after {length(instance.finished_at - instance.started_at)}"
        failure = "" if instance.failure is None else f": {instance.failure.type}: {instance.failure.message}"
        reason = f": {instance.cancel_reason}" if instance.cancel_reason else ""
        name, rest = printable(instance.id), took + printable(failure + reason)
        if screen.width is not None:
            name = fitted(name, screen.width // 2)
            rest = fitted(rest, screen.width - columns(name) - len(instance.status) - 1)
        screen.show(f"{name} {screen.styled(str(instance.status), RUN_STYLES[instance.status])}{rest}")
    context.exit(int(exit_code_of(instance)))
