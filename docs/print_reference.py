"""Prints the reference pages from the code; with --check, fails where a page is stale.

python docs/print_reference.py [--check]
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from enum import Enum
from pathlib import Path

import hephaestus_celery as api
from hephaestus_celery import exceptions, testing
from hephaestus_celery.config import PREFIX, Settings
from hephaestus_celery.core.values.cancellation import CancelReport
from hephaestus_celery.storage.redis.keys import render as keys_page
from hephaestus_celery.telemetry.catalogue import render_page as events_page

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
    """The error tree."""
    lines = [
        "# Errors",
        "",
        "Everything raised on purpose is a `HephaestusError`; names import from `hephaestus_celery`.",
        "",
    ]
    for name, error in vars(exceptions).items():
        if inspect.isclass(error) and error.__module__ == exceptions.__name__:
            bases = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
            lines += [
                f"## `{name}`",
                "",
                f"A {bases}.",
                "",
                inspect.cleandoc(error.__doc__ or "").replace("``", "`"),
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


CALLED = (api.Hephaestus, api.Workflow, api.InstanceHandle, api.Instance, api.Context, api.Step)
GIVEN = (api.HistoryEntry, api.Failure, api.Status, api.Page, CancelReport, testing.EventCapture, testing.CapturedEvent)
MADE = (api.Ok, api.Async, api.Error, api.Unique, api.RetryPolicy)
NAMED = (api.Done, api.Wait, api.WaitForEvent, api.Debug)
PARTS = (api.LocalRunner, api.CeleryRunner, api.MemoryStorage, api.RedisStorage)
"""The public classes by what users do with them, in the order of the page."""


def api_page() -> str:
    """Every public class and function with its signature and what a caller can rely on."""
    lines = [
        "# The public interface",
        "",
        "What `hephaestus_celery` exports, beside its [errors](errors.md), [settings](settings.md) and",
        "[telemetry](events.md); `EventCapture` and `CapturedEvent` are in `hephaestus_celery.testing`, and `CancelReport` is",
        "what `cancel` gives. With examples: [what a workflow can do](../guides/workflows.md).",
        "",
        "## `route`",
        "",
        f"`@route{_signature(api.route)}`",
        "",
        _doc(api.route),
    ]
    for public in (*CALLED, *MADE, *NAMED, *GIVEN, *PARTS):
        lines += ["", f"## `{public.__name__}`", ""]
        if public in (api.Hephaestus, *MADE, *PARTS):
            lines += [f"`{public.__name__}{_signature(public.__init__)}`", ""]
        lines += [_doc(public), *(_members(public) if public in (*CALLED, *GIVEN) else [])]
    return "\n".join(lines).rstrip() + "\n"


def _members(public: type) -> list[str]:
    lines: list[str] = []
    if issubclass(public, Enum):
        return ["", *(f"- `{member.value}`" for member in public)]
    typed = {name: kind for name, kind in vars(public).get("__annotations__", {}).items() if not name.startswith("_")}
    if typed:
        lines += ["", "Fields: " + ", ".join(f"`{name}: {_plain(kind)}`" for name, kind in typed.items()) + "."]
    for name, member in vars(public).items():
        function = getattr(member, "__func__", member)
        if name.startswith("_") or name in typed or not getattr(function, "__doc__", None):
            continue
        if isinstance(member, property):
            lines += ["", f"### `{public.__name__}.{name}`", "", _doc(member)]
        elif inspect.isfunction(function):
            lines += ["", f"### `{public.__name__}.{name}{_signature(function)}`", "", _doc(function)]
    return lines


def _signature(function: Callable[..., object]) -> str:
    shown: list[str] = []
    for parameter in list(inspect.signature(function).parameters.values()):
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(one.startswith("*") for one in shown):
            shown.append("*")
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_plain(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {'...' if '<' in repr(parameter.default) else repr(parameter.default)}"
        shown.append(text)
    return f"({', '.join(shown)})"


def _plain(annotation: object) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return text.replace("builtins.", "").removeprefix("ClassVar[").removesuffix("]" if "ClassVar[" in text else "")


def _doc(described: object) -> str:
    return re.sub(r":\w+:`[~.]*([^`]+)`", r"`\1`", inspect.cleandoc(described.__doc__ or "")).replace("``", "`")


def _default(value: object) -> str:
    if isinstance(value, timedelta):
        return f"`{value.total_seconds():g}` s" if value < timedelta(days=1) else f"{value.days} days"
    return f"`{value!r}`"


PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "errors.md": errors_page,
    "events.md": events_page,
    "keys.md": keys_page,
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
