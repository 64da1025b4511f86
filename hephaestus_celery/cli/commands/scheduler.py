"""The command ``celery -A shop hephaestus scheduler``: its options."""

from __future__ import annotations

from typing import Any

import click

from hephaestus_celery.exceptions import HephaestusError


@click.command()
@click.pass_obj
def scheduler(celery_context: Any) -> None:
    """Do what is due, without executing steps, until Ctrl-C or SIGTERM.

    Every worker does this beside its work; one process at a time holds the lock. Run it alone where due retries, timeouts
    and lost messages shall be dispatched even while no worker runs. It needs the state store and the broker.
    """
    from hephaestus_celery.cli.scheduler_process import run_scheduler

    try:
        run_scheduler(celery_context.app)
    except HephaestusError as error:
        raise click.ClickException(str(error)) from error
