"""Follows one run until its end: prints each entry of its history as it comes, and on a terminal where it stands now."""

from __future__ import annotations

from datetime import timedelta

import click

from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode
from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.cli.render.text import fitted, printable
from hephaestus_celery.cli.render.times import iso, length
from hephaestus_celery.cli.statuses import RUN_STYLES
from hephaestus_celery.cli.whereabouts import read_due_times, whereabouts
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.exceptions import WaitTimeoutError
from hephaestus_celery.storage.codec import moment

_GLANCE_SECONDS = 0.5
_ENDS = {Status.COMPLETED: ExitCode.DONE, Status.FAILED: ExitCode.RUN_FAILED, Status.CANCELLED: ExitCode.RUN_CANCELLED}


def exit_code_of(instance: Instance) -> ExitCode:
    """The exit code that tells how a run ended."""
    return _ENDS[instance.status]


def follow(runtime: Hephaestus, run_id: str, screen: Screen, *, timeout: timedelta | None, silent: bool) -> Instance:
    """Return the run when it has ended; ends the command with its own exit code when the time is over.

    The end is noticed at once. What is shown in between is read twice a second.
    """
    deadline = None if timeout is None else SYSTEM_CLOCK.monotonic_ns() + int(timeout.total_seconds() * 1e9)
    shown = _Shown(runtime, run_id, screen, silent=silent)
    try:
        while True:
            left = None if deadline is None else (deadline - SYSTEM_CLOCK.monotonic_ns()) / 1e9
            if left is not None and left <= 0:
                raise CommandFailedError(f"the time is over: {shown.stands()}; it goes on", ExitCode.TIME_IS_OVER)
            glance = None if silent else _GLANCE_SECONDS
            try:
                instance = runtime.wait(
                    run_id, min((each for each in (glance, left) if each is not None), default=None)
                )
            except WaitTimeoutError:
                shown.update()
                continue
            shown.end()
            return instance
    finally:
        shown.clear_line()


class _Shown:
    """What a terminal or pipe has been shown of a run."""

    def __init__(self, runtime: Hephaestus, run_id: str, screen: Screen, *, silent: bool) -> None:
        self._runtime, self._run_id, self._screen, self._silent = runtime, run_id, screen, silent
        self._sequence = 0
        self._has_line = False

    def stands(self) -> str:
        """Where the run stands."""
        return self._stands(self._runtime.get(self._run_id))

    def update(self) -> None:
        """Show what has come, and where the run stands now."""
        if self._silent:
            return
        self._show_entries()
        if self._screen.people and self._screen.width is not None:
            self.clear_line()
            instance = self._runtime.get(self._run_id)
            line = fitted(f"… {self._stands(instance)}", self._screen.width - 1)
            click.echo(self._screen.styled(line, RUN_STYLES[instance.status]), nl=False, color=self._screen.coloured)
            self._has_line = True

    def end(self) -> None:
        """Show the last entries."""
        if not self._silent:
            self._show_entries()

    def clear_line(self) -> None:
        """Take the line away that says where the run stands."""
        if self._has_line:
            click.echo("\r\x1b[K", nl=False, color=True)
            self._has_line = False

    def _stands(self, instance: Instance) -> str:
        [due] = read_due_times([instance], self._runtime.storage)
        where = whereabouts(instance, due, now=moment(self._runtime.storage.now()))
        return printable(f"{instance.id} is {instance.status}" + (f" ({where})" if where else ""))

    def _show_entries(self) -> None:
        entries = [entry for entry in self._runtime.history(self._run_id) if entry.sequence > self._sequence]
        if not entries:
            return
        self.clear_line()
        self._sequence = max(entry.sequence for entry in entries)
        for entry in entries:
            line = entry_line(entry, self._screen)
            self._screen.show(line if self._screen.width is None else fitted_styled(line, self._screen))


def fitted_styled(line: str, screen: Screen) -> str:
    """A line without styles, cut to the width of the screen."""
    return line if screen.width is None else fitted(line, screen.width)


def entry_line(entry: HistoryEntry, screen: Screen) -> str:
    """One line that tells what an entry of a history says."""
    at = entry.finished_at or entry.started_at or entry.queued_at
    time = "" if at is None else f"{at:%H:%M:%S}" if screen.people else iso(at)
    attempt = f" attempt {entry.attempt}" if entry.attempt else ""
    event = f" {entry.event}" if entry.event else ""
    took = ""
    if entry.started_at and entry.finished_at and entry.kind == "attempt":
        took = f" after {length(entry.finished_at - entry.started_at)}"
    reason = f": {entry.reason}" if entry.reason else ""
    step = f" {entry.step}" if entry.step else ""
    outcome = f" {entry.outcome}" if entry.outcome else ""
    return printable(f"{time} {entry.kind}{step}{attempt}{outcome}{event}{took}{reason}")
