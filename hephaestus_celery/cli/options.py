"""Options that several commands share."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click

from hephaestus_celery.clock import SYSTEM_CLOCK

_AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

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
        found = _AGO.fullmatch(value) or _AGO.fullmatch(f"{value}s")
        with contextlib.suppress(OverflowError):
            if found:
                return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
        return self.fail(f"{value!r} is no duration; write seconds, or 90s, 5m, 1.5h, 2d", param, ctx)


class Moment(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - not generic in each release
    """A moment: ISO 8601 (in UTC where it says no zone), or how long ago: ``2h``, ``3d``."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            if _AGO.fullmatch(value):
                now = datetime.fromtimestamp(SYSTEM_CLOCK.time_ns() / 1e9, UTC)
                return now - Duration().convert(value, param, ctx)
            moment = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no moment; write 2026-01-31T12:00:00Z, or 2h for two hours ago", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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
