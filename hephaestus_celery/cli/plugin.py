"""The plugin ``celery -A shop hephaestus``: the commands that need an application.

Celery finds the group through the entry point group ``celery.commands``, and loads it with every ``celery`` command: so
nothing but click is imported before a command of ours is called.
"""

from __future__ import annotations

import click

from hephaestus_celery.cli.commands.scheduler import scheduler


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def hephaestus() -> None:
    """Workflows of this application."""


hephaestus.add_command(scheduler)
