"""How commands show statuses: a symbol, a word and a colour each."""

from __future__ import annotations

from collections.abc import Mapping

from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.core.values.lifecycle import Status

RUN_STYLES: Mapping[Status, str] = {
    Status.PENDING: "dim",
    Status.RUNNING: "cyan",
    Status.WAITING: "magenta",
    Status.COMPLETED: "green",
    Status.FAILED: "red bold",
    Status.CANCELLED: "dim",
}
STEP_STYLES: Mapping[str, str] = {
    "completed": "green",
    "failed, went on": "red",
    "executing": "cyan bold",
    "queued": "cyan",
    "held": "magenta bold",
    "backing off": "magenta bold",
    "waiting": "magenta",
    "failed": "red bold",
    "skipped": "dim",
    "stopped": "dim",
    "not reached": "dim",
}
_SYMBOLS: Mapping[str, tuple[str, str]] = {
    "completed": ("✓", "+"),
    "failed, went on": ("✗", "x"),
    "executing": ("●", "*"),
    "queued": ("○", "o"),
    "held": ("○", "o"),
    "backing off": ("↻", "~"),
    "waiting": ("◆", "?"),
    "failed": ("✗", "x"),
    "skipped": ("-", "-"),
    "stopped": ("-", "-"),
    "not reached": ("·", "."),
}


def symbol(word: str, screen: Screen) -> str:
    """The symbol of a step's standing."""
    return _SYMBOLS[word][0 if screen.symbols else 1]
