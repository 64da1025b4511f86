"""The port of a transaction, and all that a new transactional store has to write: what one call reads and changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from hephaestus_celery.core.execution.due_items import DueItem
from hephaestus_celery.core.execution.lane_watch import LaneWatch
from hephaestus_celery.core.execution.stream_groups import StreamGroup
from hephaestus_celery.core.execution.uniqueness import Claimant
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.storage.transactional.record import Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldEntry:
    """An entry of the event stream: its id, what it was told as JSON text, and the history entry, which may be empty."""

    id: str
    told: str
    detail: str


Member = tuple[str, str]
"""A run and one of its steps."""
REPLY_KEPT = 3_600_000_000
"""Microseconds for which a reply is kept: a caller whose call has failed may repeat it much later."""


class Transaction(Protocol):
    """Runs, the due set, lanes, workers' reports and kept replies, as of one moment.

    No other call changes what a transaction has read before it ends. Times are microseconds on the clock that timers go by.
    """

    # Runs

    def find_run(self, run_id: str) -> Record | None:
        """A run, which the caller may change and give to :meth:`save_run`; None for an unknown run."""
        ...

    def add_run(self, record: Record) -> None:
        """Add a new run, which is active."""
        ...

    def save_run(self, record: Record) -> None:
        """Save a changed run. A run whose status is final is no longer active."""
        ...

    def delete_run(self, record: Record) -> None:
        """Delete an ended run, with all that is stored of it but its entries in the due set and in lanes."""
        ...

    def runs_of(self, instance_id: str, *, active: bool) -> Sequence[Claimant]:
        """The runs of an instance id, or its active ones, in the order of their starts."""
        ...

    def runs_before(self, position: tuple[int, str] | None) -> Iterator[Record]:
        """Runs by (start, run id), the newest first: all runs, or the ones before ``position``."""
        ...

    # Pauses of workflows

    def pauses(self) -> Mapping[str, PauseMark]:
        """The pauses of workflow families, by their names."""
        ...

    def save_pause(self, family: str, pause: PauseMark | None) -> None:
        """Save that a workflow family is paused; None when it goes on."""
        ...

    # The due set

    def due_at(self, run_id: str, item: DueItem) -> int | None:
        """When an entry of the due set comes due; None if there is no such entry."""
        ...

    def set_due(self, run_id: str, item: DueItem, at: int) -> None:
        """Set an entry of the due set."""
        ...

    def clear_due(self, run_id: str, item: DueItem) -> bool:
        """Take an entry out of the due set; False if there was no such entry."""
        ...

    def clear_all_due(self, run_id: str) -> None:
        """Take all entries of a run out of the due set."""
        ...

    def due_until(self, moment: int) -> Sequence[tuple[str, DueItem, int]]:
        """Run id, item and time of the entries that are due by ``moment``; the oldest first, then by run id and text."""
        ...

    def soonest_due(self) -> int | None:
        """When the next entry comes due, or the next lane is to be looked at."""
        ...

    # Lanes

    def enter_lane(self, lane: str, member: Member, at: int) -> None:
        """A message for a step waits in this lane since ``at``."""
        ...

    def leave_lane(self, lane: str, member: Member) -> None:
        """The message for a step no longer waits in this lane."""
        ...

    def leave_lanes(self, run_id: str) -> None:
        """No message of a run waits in a lane any longer."""
        ...

    def waiting(self, lane: str, *, start: int, limit: int) -> Sequence[tuple[Member, int]]:
        """Some of the messages that wait in a lane, by the time of sending, then by run id and step."""
        ...

    def count_waiting(self, lane: str) -> int:
        """How many messages wait in a lane."""
        ...

    def find_watch(self, lane: str) -> LaneWatch | None:
        """How a lane is watched; None if nothing is saved about it."""
        ...

    def save_watch(self, lane: str, watch: LaneWatch | None) -> None:
        """Save how a lane is watched; None to forget the lane."""
        ...

    def watches_until(self, moment: int) -> Sequence[tuple[str, LaneWatch]]:
        """The lanes to be looked at by ``moment``, ordered by that time, then by name."""
        ...

    # What workers report, and what was replied

    def save_report(self, worker: str, holdings: str | None, *, ends_at: int) -> None:
        """Save what a worker holds, until ``ends_at``; None when the worker leaves."""
        ...

    def reports(self, moment: int) -> Sequence[str]:
        """The reports that have not ended by ``moment``: what living workers hold."""
        ...

    def find_reply(self, kind: type[T], owner: str, operation: str) -> T | None:
        """The reply of this class to an operation; None if the operation is new, or its reply was forgotten."""
        ...

    def save_reply(self, owner: str, operation: str, reply: object, *, ends_at: int) -> None:
        """Keep the reply to an operation, a frozen dataclass, until ``ends_at``."""
        ...

    def forget_replies(self, moment: int) -> None:
        """Forget the replies that were to be kept until ``moment`` or less."""
        ...

    # The event stream

    def newest_told(self) -> str | None:
        """The id of the newest entry; None if nothing was told yet."""
        ...

    def add_told(self, entry: ToldEntry, *, keep: int) -> None:
        """Append an entry, and drop the oldest beyond ``keep`` entries."""
        ...

    def told_after(self, id: str, *, limit: int) -> Sequence[ToldEntry]:
        """Entries behind this id, the oldest first. Of two ids, the later one has the higher number behind its hyphen."""
        ...

    def find_told(self, id: str) -> ToldEntry | None:
        """One entry; None if it was dropped."""
        ...

    def find_group(self, name: str) -> StreamGroup | None:
        """A consumer group; None if there is none."""
        ...

    def save_group(self, name: str, group: StreamGroup | None) -> None:
        """Save a consumer group; None to forget it."""
        ...

    def groups(self) -> Sequence[str]:
        """The names of all consumer groups."""
        ...
