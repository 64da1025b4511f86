"""A group of commands that imports each of them when it is called, and ends with the exit codes of ``exit_codes.py``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class CommandGroup(click.Group):
    """Commands by name; each is ``module:attribute``. One that can't be imported spoils no other, and no help."""

    def __init__(self, *arguments: Any, places: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        place = self._places.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other commands work
            return _broken(cmd_name, error)

    def invoke(self, ctx: click.Context) -> Any:
        from hephaestus_celery.cli.exit_codes import errors_as_exit_codes  # not for `celery --help`

        with errors_as_exit_codes():
            return super().invoke(ctx)


def _broken(name: str, error: Exception) -> click.Command:
    text = f"{name} can't be loaded: {type(error).__name__}: {error}"

    def fail() -> None:
        raise click.ClickException(text)

    takes_all = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=fail, short_help=text, help=text, context_settings=takes_all)
