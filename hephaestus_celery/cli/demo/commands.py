"""Commands of ``celery -A verify_environment hephaestus`` that the demo types: printed, then executed in this process."""

from __future__ import annotations

import shlex
from types import SimpleNamespace

import click

from hephaestus_celery.cli.demo.example import NAME, Example
from hephaestus_celery.cli.plugin import hephaestus


class Commands:
    """What an operator of the example would type, in another terminal."""

    def __init__(self, example: Example) -> None:
        self._context = SimpleNamespace(app=example.hephaestus.app, no_color=False)  # what Celery gives to its plugins

    def type(self, *words: str) -> None:
        """Print the line, and what the command says; a ``CommandFailedError`` of it is raised."""
        click.echo(f"\n$ celery -A {NAME} hephaestus {shlex.join(words)}")
        hephaestus.main(list(words), prog_name="celery hephaestus", obj=self._context, standalone_mode=False)
