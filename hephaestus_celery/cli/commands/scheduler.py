"""The command ``celery -A shop hephaestus scheduler``: its options."""

from __future__ import annotations

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_app, runtimes_of
from hephaestus_celery.cli.scheduler_process import run_scheduler


@options.example("scheduler")
@click.command("scheduler", short_help="Do what is due, without executing steps.")
@click.pass_context
def scheduler(context: click.Context, /) -> None:
    """Do what is due, without executing steps, until Ctrl-C or SIGTERM.

    Every worker does this beside its work; one process at a time holds the lock. Run it alone where due retries, timeouts
    and lost messages shall be dispatched even while no worker runs. It needs the state store and the broker.
    """
    app = find_app(context)
    run_scheduler(app, runtimes_of(app))
