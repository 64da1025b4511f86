"""Prints the reference pages from the code; with --check, fails where a page is stale.

python docs/print_reference.py [--check]
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

from api_page import anchor, raised_by
from api_page import render as api_page
from command_line_page import render as command_line_page
from modules_page import render as modules_page

import hephaestus_celery
from hephaestus_celery import exceptions
from hephaestus_celery.config import PREFIX, Settings
from hephaestus_celery.reports.doctor.page import render as doctor_page
from hephaestus_celery.storage.redis.key_catalogue import render as keys_page
from hephaestus_celery.telemetry.catalogue.page import render_page as events_page

FOLDER = Path(__file__).parent / "reference"


def settings_page() -> str:
    """Every setting with its default and effect."""
    lines = [
        "# Settings",
        "",
        "Celery settings, read from `app.conf` (with a namespace such as Django's `CELERY_`, prefix them as any other).",
        "Durations are seconds or `timedelta`. A bad value raises `ConfigurationError` naming the setting.",
        "",
        "| setting | default | effect |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| `{PREFIX}{setting.name}` | {_default(setting.default)} | {setting.metadata['effect']} |"
        for setting in fields(Settings)
    ]
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """The error tree, then each error with what names it."""
    errors = {name: found for name, found in vars(exceptions).items() if _is_error(found)}
    lines = [
        "# Errors",
        "",
        "Everything raised on purpose is a `HephaestusError`. Names import from `hephaestus_celery`, those marked `*` from",
        "`hephaestus_celery.exceptions`. Bad arguments raise `ValueError` or `TypeError`, as Python itself does.",
        "",
        "<!-- not run: the tree of the classes -->",
        "```text",
        *_tree(exceptions.HephaestusError, list(errors.values()), depth=0),
        "```",
    ]
    for name, error in errors.items():
        others = [base.__name__ for base in error.__bases__ if not issubclass(base, exceptions.HephaestusError)]
        lines += ["", f"## `{name}`", ""]
        if others != ["Exception"] and others:
            lines += [f"Also a `{'`, `'.join(others)}`.", ""]
        lines += [inspect.cleandoc(error.__doc__ or "").replace("``", "`")]
        callers = raised_by(name)
        if callers:
            links = ", ".join(f"[`{caller}`](api.md#{anchor(caller)})" for caller in callers)
            lines += ["", f"See {links}."]
    return "\n".join(lines).rstrip() + "\n"


def _is_error(found: object) -> bool:
    return inspect.isclass(found) and found.__module__ == exceptions.__name__


def _tree(error: type, errors: list[type], *, depth: int) -> list[str]:
    mark = "" if error.__name__ in hephaestus_celery.__all__ else " *"
    lines = ["    " * depth + error.__name__ + mark]
    for child in errors:
        if error in child.__bases__:
            lines += _tree(child, errors, depth=depth + 1)
    return lines


def _default(value: object) -> str:
    if isinstance(value, timedelta):
        return f"`{value.total_seconds():g}` s" if value < timedelta(days=1) else f"{value.days} days"
    return f"`{value!r}`"


PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "command-line.md": command_line_page,
    "doctor.md": doctor_page,
    "errors.md": errors_page,
    "events.md": events_page,
    "keys.md": keys_page,
    "modules.md": modules_page,
    "settings.md": settings_page,
}


def main(arguments: list[str]) -> int:
    """Print the pages; the exit code is 1 where one was stale and only a check was asked for."""
    stale = [name for name, page in PAGES.items() if not _is_fresh(FOLDER / name, page())]
    for name in stale:
        if "--check" in arguments:
            print(f"docs/reference/{name} is stale; run python docs/print_reference.py")
        else:
            (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
            print(f"printed docs/reference/{name}")
    return 1 if stale and "--check" in arguments else 0


def _is_fresh(file: Path, text: str) -> bool:
    return file.exists() and file.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
