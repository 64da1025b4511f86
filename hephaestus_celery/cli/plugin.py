"""``celery -A shop hephaestus``: what can be done with an application's workflows.

Celery finds the group through the entry point group ``celery.commands``, and loads it with every ``celery`` command: so
nothing but click is imported here before a command of ours is called.
"""

from __future__ import annotations

from typing import Any

import click

from hephaestus_celery.exceptions import HephaestusError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def hephaestus() -> None:
    """Workflows of this application."""


@hephaestus.command()
@click.pass_obj
def scheduler(celery_context: Any) -> None:
    """Do what is due, without executing steps, until Ctrl-C or SIGTERM.

    Every worker does this beside its work; one process at a time holds the lock. Run it alone where due retries, timeouts
    and lost messages shall be dispatched even while no worker runs. It needs the state store and the broker.
    """
    from hephaestus_celery.cli.commands.scheduler import run_scheduler

    try:
        run_scheduler(celery_context.app)
    except HephaestusError as error:
        raise click.ClickException(str(error)) from error
