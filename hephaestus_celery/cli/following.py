"""Follows one run until its end: looks at it again and again, and shows what has come, while the store comes and goes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode
from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.client.standing import reasons
from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.execution.standing import Reason
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.reports.standing import with_purpose
from hephaestus_celery.reports.text import printable
from hephaestus_celery.reports.times import iso, length
from hephaestus_celery.reports.whereabouts import read_due_times, whereabouts
from hephaestus_celery.storage.codec import moment

LOOK_SECONDS = 1.0
_ENDS = {Status.COMPLETED: ExitCode.DONE, Status.FAILED: ExitCode.RUN_FAILED, Status.CANCELLED: ExitCode.RUN_CANCELLED}


def exit_code_of(instance: Instance) -> ExitCode:
    """The exit code that tells how a run ended."""
    return _ENDS[instance.status]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of a run: itself, its history so far, and which entries of it are ``fresh`` since the look before."""

    instance: Instance
    entries: list[HistoryEntry]
    fresh: list[HistoryEntry]
    at: datetime


class Observer:
    """Looks at one run: reads its summary, and the entries of its history that it has not read yet."""

    def __init__(self, runtime: Hephaestus, run_id: str) -> None:
        self.runtime, self.run_id = runtime, run_id
        self._entries = list[HistoryEntry]()

    def look(self) -> Look:
        """The run as it is now. ``StorageError`` while the store is out of reach."""
        page = self.runtime.list(id=self.run_id, limit=1)
        [instance] = page.instances or (self.runtime.get(self.run_id),)  # which raises, where it is gone
        after = self._entries[-1].sequence if self._entries else 0
        fresh = self.runtime.history(self.run_id, after=after)
        self._entries.extend(fresh)
        return Look(instance=instance, entries=self._entries, fresh=fresh, at=moment(self.runtime.storage.now()))

    def reasons(self, look: Look) -> list[Reason]:
        """Why its steps do not move."""
        return list(reasons(look.instance, self.runtime.storage, self.runtime.runner.fleet, look.entries))

    def stands(self, look: Look) -> str:
        """Where the run stands, in a line."""
        [due] = read_due_times([look.instance], self.runtime.storage)
        where = whereabouts(look.instance, due, now=look.at)
        return printable(f"{look.instance.id} is {look.instance.status}" + (f" ({where})" if where else ""))


@dataclass(slots=True, kw_only=True)
class Outage:
    """The store has been out of reach since ``since``, on the monotonic clock."""

    error: StorageError
    since: int = field(default_factory=SYSTEM_CLOCK.monotonic_ns)
    told: bool = False
    """Whether it was said already, where it is said once."""

    def __str__(self) -> str:
        return printable(f"the store has been out of reach for {length(self.lasted)}, and is asked again: {self.error}")

    @property
    def lasted(self) -> float:
        """Seconds since it began."""
        return (SYSTEM_CLOCK.monotonic_ns() - self.since) / 1e9


class Outages(Protocol):
    """Where it is shown that the store comes and goes."""

    def interrupted(self, outage: Outage) -> None:
        """Say that the store is out of reach, and since when."""
        ...

    def resumed(self, outage: Outage) -> None:
        """Say that the store answers again."""
        ...


class Patience:
    """Asks a store again that is out of reach for a while; what no waiting mends is raised."""

    def __init__(self, shown: Outages) -> None:
        self._shown = shown
        self._outage: Outage | None = None

    def failed(self, error: StorageError) -> None:
        """The store did not answer."""
        if not error.transient:
            raise error
        if self._outage is None:
            self._outage = Outage(error=error)
        self._shown.interrupted(self._outage)

    def answered(self) -> None:
        """The store has answered."""
        if self._outage is not None:
            self._shown.resumed(self._outage)
            self._outage = None


class Shown(Outages, AbstractContextManager[object, None], Protocol):
    """Where a run is shown while it is followed."""

    def update(self, observer: Observer, look: Look) -> None:
        """Show what has come."""
        ...


def follow(runtime: Hephaestus, run_id: str, shown: Shown, *, timeout: timedelta | None) -> Instance:
    """Return the run when it has ended; ends the command with its own exit code when the time is over.

    The end is noticed at once. What is shown in between is looked at once a second. A store that is out of reach is asked
    again, as long as there is time.
    """
    deadline = None if timeout is None else SYSTEM_CLOCK.monotonic_ns() + int(timeout.total_seconds() * 1e9)
    observer, patience = Observer(runtime, run_id), Patience(shown)
    with shown:
        while True:
            left = LOOK_SECONDS if deadline is None else (deadline - SYSTEM_CLOCK.monotonic_ns()) / 1e9
            try:
                look = observer.look()
                shown.update(observer, look)
                patience.answered()
                if look.instance.status.final:
                    return runtime.wait(run_id)
                if left <= 0:
                    raise CommandFailedError(
                        f"the time is over: {observer.stands(look)}; it goes on", ExitCode.TIME_IS_OVER
                    )
                runtime.storage.wait_finished(run_id, timeout=min(LOOK_SECONDS, left))
            except StorageError as error:
                patience.failed(error)
                if left <= 0:
                    raise CommandFailedError(f"the time is over, and {error}", ExitCode.TIME_IS_OVER) from error
                SYSTEM_CLOCK.sleep(min(LOOK_SECONDS, left))


def entry_line(entry: HistoryEntry, screen: Screen) -> str:
    """One line that tells what an entry of a history says."""
    at = entry.finished_at or entry.started_at or entry.queued_at
    time = "" if at is None else f"{at:%H:%M:%S}" if screen.people else iso(at)
    attempt = f", attempt {entry.attempt}" if entry.attempt else ""
    attempt = f", round {entry.round}{attempt}" if entry.round else attempt
    by = f" by {entry.by}" if entry.by else ""
    of_run = f" of run {entry.run_id}" if entry.run_id else ""
    reason = f": {entry.reason}" if entry.reason else ""
    if entry.kind == "attempt":
        what = f" {with_purpose(entry.step or 'a step', entry.compensates)}{attempt}{_how_it_ended(entry)}"
    else:
        step = f" {with_purpose(entry.step, entry.compensates)}" if entry.step else ""
        outcome = f"{',' if attempt else ''} {entry.outcome}" if entry.outcome else ""
        event = f" {entry.event}" if entry.event else ""
        what = f" {entry.kind}{step}{attempt}{outcome}{event}"
    return printable(f"{time}{what}{of_run}{by}{reason}")


def _how_it_ended(entry: HistoryEntry) -> str:
    event = f" with {entry.event}" if entry.event else ""
    took = ""
    if entry.started_at and entry.finished_at:
        took = f" after {length(entry.finished_at - entry.started_at)}"
    if entry.outcome == "again":
        return f" ended{took}, and another round follows" if entry.round else " went on in rounds"
    if entry.outcome == "failed" and entry.event == FAILED:
        return f" failed for good{took}, and the run went on"
    if entry.outcome == "retrying":
        return f" failed{event}{took} and is tried again"
    return f" {entry.outcome}{event}{took}" if entry.outcome else f"{event}{took}"
