"""Options that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.reports.moments import parse_duration, parse_moment

as_json = click.option("--json", "as_document", is_flag=True, help="Print JSON, for programs.")
quietly = click.option("-q", "--quiet", is_flag=True, help="Print ids alone.")
by = click.option("--by", metavar="NAME", help="Who does it, for the history.")
wide = click.option("--wide", is_flag=True, help="Cut no line, however narrow the terminal is.")


class Duration(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - not generic in each release
    """A number of seconds, or a number with a unit: ``90``, ``1.5h``, ``2d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


class Moment(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - not generic in each release
    """A moment: ISO 8601 (in UTC where it says no zone), or how long ago: ``2h``, ``3d``."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_moment(value, now=datetime.fromtimestamp(SYSTEM_CLOCK.time_ns() / 1e9, UTC))
        except ValueError as error:
            return self.fail(str(error), param, ctx)


class JsonMapping(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - not generic in each release
    """A JSON object; ``-`` reads it from standard input."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        text: str = sys.stdin.read() if value == "-" else value
        try:
            found = json.loads(text)
        except ValueError as error:
            self.fail(f"it is no JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail(f'it must be a JSON object, such as {{"items": 3}}, not {text[:80]}', param, ctx)
        return cast("dict[str, Any]", found)


def example(*lines: str) -> Callable[[click.Command], click.Command]:
    """Show an example at the end of the help of a command."""

    def add(command: click.Command) -> click.Command:
        command.epilog = "\b\nExample:\n" + "\n".join(f"  celery -A shop hephaestus {line}" for line in lines)
        return command

    return add
