"""Shows one run while it is followed: in place on a terminal, else a line or a JSON document for each change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import click

from hephaestus_celery.cli.following import Look, Observer, Outage, Shown, entry_line
from hephaestus_celery.cli.instance_documents import brief_document
from hephaestus_celery.cli.render.live import LiveTerminal, live_terminal
from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.cli.run_page import show_run
from hephaestus_celery.core.execution.standing import Reason
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.reports.documents import as_json, plain
from hephaestus_celery.reports.text import fitted
from hephaestus_celery.reports.whereabouts import read_due_times

_HEAD_LINES = 5
_LEAST_STEPS = 4


def shown_on(screen: Screen) -> Shown:
    """Where people see a run: a terminal that can be drawn in place, or lines."""
    return InPlace(screen) if screen.moves else Lines(screen)


class Nowhere:
    """Shows nothing of the run, and on standard error that the store comes and goes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, observer: Observer, look: Look) -> None:
        """Nothing."""

    def interrupted(self, outage: Outage) -> None:
        """Say it once."""
        if not outage.told:
            outage.told = True
            click.echo(str(outage), err=True)

    def resumed(self, outage: Outage) -> None:
        """Say it."""
        click.echo(f"the store answers again, {outage.lasted:,.1f}s later", err=True)


class Lines(Nowhere):
    """A line for each entry of the history."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def update(self, observer: Observer, look: Look) -> None:
        """Print the entries that have come."""
        for entry in look.fresh:
            line = entry_line(entry, self._screen)
            self._screen.show(line if self._screen.width is None else fitted(line, self._screen.width))


class Documents(Nowhere):
    """A JSON document in a line for each change: the run as in a listing, and the entries that its history has got."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._before: object = None

    def update(self, observer: Observer, look: Look) -> None:
        """Print the run, if it has changed."""
        now = _fingerprint(look.instance)
        if not look.fresh and now == self._before:
            return
        self._before = now
        [due] = read_due_times([look.instance], observer.runtime.storage)
        document = brief_document(look.instance, due)
        document["history"] = [plain(entry) for entry in look.fresh]
        self._screen.show(as_json(document))


class InPlace:
    """What ``show`` prints, over and over on the same place; when it is over, the last of it stays."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._stack = ExitStack()
        self._terminal: LiveTerminal | None = None
        self._last: tuple[Look, Sequence[Reason]] | None = None

    def __enter__(self) -> Self:
        self._terminal = self._stack.enter_context(live_terminal(self._screen))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self._last is not None:
            look, why = self._last
            show_run(self._screen, look.instance, look.entries, why, now=look.at, data=False)

    def update(self, observer: Observer, look: Look) -> None:
        """Draw the run."""
        self._last = (look, observer.reasons(look))
        self._draw("")

    def interrupted(self, outage: Outage) -> None:
        """Draw what was known last."""
        self._draw(str(outage))

    def resumed(self, outage: Outage) -> None:
        """The next frame shows it."""

    def _draw(self, note: str) -> None:
        if self._terminal is not None:
            self._terminal.draw(lambda screen, height: self._frame(screen, height, note))

    def _frame(self, screen: Screen, height: int, note: str) -> None:
        if note:
            screen.show(screen.styled(fitted(note, screen.width or len(note)), "red bold"))
        if self._last is None:
            return
        look, why = self._last
        room = height - _HEAD_LINES - (2 + 2 * len(why) if why else 0) - bool(note)
        most = max(_LEAST_STEPS, room)
        show_run(screen, look.instance, look.entries, why, now=look.at, most_steps=most, data=False)


def _fingerprint(instance: Instance) -> object:
    states: Mapping[str, StepState] | None = None if instance.is_far("step_states") else instance.step_states
    found: tuple[Any, ...] = (instance.status, instance.pauses, instance.retried_as, states)
    return found
