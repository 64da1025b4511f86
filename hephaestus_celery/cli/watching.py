"""Watches all runs: in place on a terminal, else a line for each run that has changed, or a JSON document."""

from __future__ import annotations

from datetime import datetime

import click

from hephaestus_celery.cli.following import LOOK_SECONDS, Outage, Outages, Patience
from hephaestus_celery.cli.live_run import Nowhere
from hephaestus_celery.cli.overview import Outlook, Overview, stand_of
from hephaestus_celery.cli.render.live import LiveTerminal, Stopped, live_terminal
from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.cli.run_list import NARROW, show_runs
from hephaestus_celery.cli.statuses import RUN_STYLES
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.text import fitted, printable
from hephaestus_celery.reports.times import iso
from hephaestus_celery.reports.whereabouts import DueTimes, whereabouts

DEFAULT_RUNS = 20
_HEAD_LINES = 4


def watch_all(
    context: click.Context, runtime: Hephaestus, screen: Screen, *, limit: int | None, as_document: bool
) -> None:
    """Watch all runs until Ctrl-C, which is how it ends; other signals end it as they end any program."""
    try:
        outlook = Outlook(runtime)
        if screen.moves and not as_document:
            with live_terminal(screen) as terminal:
                _watch(_InPlace(outlook, terminal, limit=limit))
        else:
            _watch(_InLines(outlook, screen, limit=limit or DEFAULT_RUNS, as_document=as_document))
    except Stopped as stopped:
        context.exit(0 if stopped.is_ctrl_c else stopped.exit_code)
    except KeyboardInterrupt:
        return


class _Watched(Outages):
    """How all runs are shown."""

    def look(self) -> None:
        """Look, and show what has changed."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """Wait until the next look."""
        SYSTEM_CLOCK.sleep(seconds)


def _watch(watched: _Watched) -> None:
    patience = Patience(watched)
    while True:
        try:
            watched.look()
            patience.answered()
        except StorageError as error:
            patience.failed(error)
        watched.wait(LOOK_SECONDS)


class _InPlace(_Watched):
    """A frame of a terminal."""

    def __init__(self, outlook: Outlook, terminal: LiveTerminal, *, limit: int | None) -> None:
        self._outlook, self._terminal, self._limit = outlook, terminal, limit
        self._last: Overview | None = None

    def look(self) -> None:
        columns, lines = self._terminal.size()
        fit = (lines - _HEAD_LINES) // 2 if columns < NARROW else lines - _HEAD_LINES - 1
        self._last = self._outlook.look(runs=max(1, min(fit, self._limit or fit)))
        self._draw("")

    def interrupted(self, outage: Outage) -> None:
        self._draw(str(outage))

    def resumed(self, outage: Outage) -> None:
        del outage  # the frame shows it

    def wait(self, seconds: float) -> None:
        self._terminal.wait(seconds)

    def _draw(self, note: str) -> None:
        self._terminal.draw(lambda screen, _: _show_frame(screen, self._last, note))


def _show_frame(screen: Screen, seen: Overview | None, note: str) -> None:
    width = screen.width or len(note)
    if seen is None:
        screen.show(screen.styled(fitted(note, width), "red bold"))
        return
    pace = "counting steps" if seen.steps_per_second is None else f"{seen.steps_per_second:,.1f} steps/s"
    screen.show(screen.styled(fitted(f"{seen.at:%H:%M:%S} UTC  {pace}", width), "bold"))
    _show_counts(screen, seen, width)
    screen.show(screen.styled(fitted(note, width), "red bold"))
    show_runs(screen, seen.runs, seen.due, now=seen.at)


def _show_counts(screen: Screen, seen: Overview, width: int) -> None:
    parts = [(f"{status} {seen.counts[status]:,}", RUN_STYLES[status]) for status in Status]
    if sum(len(text) + 2 for text, _ in parts) > width + 2:
        parts = [(f"{status[:4]} {seen.counts[status]:,}", RUN_STYLES[status]) for status in Status]
    screen.show("  ".join(screen.styled(text, style) for text, style in parts))


class _InLines(Nowhere, _Watched):
    """Lines of a pipe."""

    def __init__(self, outlook: Outlook, screen: Screen, *, limit: int, as_document: bool) -> None:
        self._outlook, self._screen, self._limit, self._as_document = outlook, screen, limit, as_document
        self._before: object = None
        self._stands: dict[str, object] = {}

    def look(self) -> None:
        seen = self._outlook.look(runs=self._limit)
        if self._as_document:
            now = seen.fingerprint()
            if now != self._before:
                self._screen.show(as_json(seen.document()))
            self._before = now
            return
        for run, due in reversed(list(zip(seen.runs, seen.due, strict=True))):
            if self._stands.get(run.run_id) != stand_of(run):
                self._screen.show(_line(run, due, now=seen.at))
        self._stands = {run.run_id: stand_of(run) for run in seen.runs}


def _line(run: Instance, due: DueTimes, *, now: datetime) -> str:
    where = whereabouts(run, due, now=now)
    return printable(f"{iso(now)} {run.id} {run.run_id} {run.status}" + (f" {where}" if where else ""))
