"""The program ``hephaestus-celery``: the commands that need no application."""

from __future__ import annotations

from importlib import metadata

import click

from hephaestus_celery.cli.commands.demo import demo


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("hephaestus-celery"), prog_name="hephaestus-celery")
def main() -> None:
    """Durable, validated workflows for the Celery that you already run."""


main.add_command(demo)
