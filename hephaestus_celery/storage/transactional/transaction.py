"""The port of a transaction, and all that a new transactional store writes: what one call sees and changes.

It is the one thing that such a store has to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from hephaestus_celery.core.execution.due_items import DueItem
from hephaestus_celery.core.execution.lanes import LaneWatch
from hephaestus_celery.core.execution.uniqueness import Claimant
from hephaestus_celery.storage.transactional.record import Record

T = TypeVar("T")
Member = tuple[str, str]
"""A run and one of its steps."""
REPLY_KEPT = 3_600_000_000
"""Microseconds for which a reply is kept, for who asks again: one whose call has failed may do so much later."""


class Transaction(Protocol):
    """Runs, the due set, lanes, workers' reports and what was replied, as of one moment.

    Nobody else changes what it has read before it ends. Times are microseconds on the clock that timers go by.
    """

    # Runs

    def find_run(self, run_id: str) -> Record | None:
        """A run, to be changed and given to :meth:`save_run`; None for an unknown one."""
        ...

    def add_run(self, record: Record) -> None:
        """A new run, which is active."""
        ...

    def save_run(self, record: Record) -> None:
        """A run that was changed. One whose status is final is active no longer."""
        ...

    def runs_of(self, instance_id: str, *, active: bool) -> Sequence[Claimant]:
        """The runs of an instance id, or its active ones, in the order of their starts."""
        ...

    def runs_before(self, position: tuple[int, str] | None) -> Iterator[Record]:
        """Runs by (start, run id), the newest first; all of them, or those before ``position``."""
        ...

    # The due set

    def due_at(self, run_id: str, item: DueItem) -> int | None:
        """When an entry of the due set comes due; None where there is none."""
        ...

    def set_due(self, run_id: str, item: DueItem, at: int) -> None:
        """Set an entry of the due set."""
        ...

    def clear_due(self, run_id: str, item: DueItem) -> bool:
        """Take an entry out of the due set; whether there was one."""
        ...

    def clear_all_due(self, run_id: str) -> None:
        """Take all entries of a run out of the due set."""
        ...

    def due_until(self, moment: int) -> Sequence[tuple[str, DueItem, int]]:
        """Run id, item and time of the entries that have come due, the oldest first, then by run id and text."""
        ...

    def soonest_due(self) -> int | None:
        """When the next entry comes due, or the next lane is to be looked at."""
        ...

    # Lanes

    def enter_lane(self, lane: str, member: Member, at: int) -> None:
        """A message for a step waits in this lane since ``at``."""
        ...

    def leave_lane(self, lane: str, member: Member) -> None:
        """It waits there no more."""
        ...

    def leave_lanes(self, run_id: str) -> None:
        """Nothing of a run waits in a lane any more."""
        ...

    def waiting(self, lane: str, *, start: int, limit: int) -> Sequence[tuple[Member, int]]:
        """A piece of what waits in a lane, by when it was sent, then by run id and step."""
        ...

    def count_waiting(self, lane: str) -> int:
        """How many wait in a lane."""
        ...

    def find_watch(self, lane: str) -> LaneWatch | None:
        """How a lane is watched; None where nothing is known of it."""
        ...

    def save_watch(self, lane: str, watch: LaneWatch | None) -> None:
        """The same, changed; None: nothing needs to be known of the lane any more."""
        ...

    def watches_until(self, moment: int) -> Sequence[tuple[str, LaneWatch]]:
        """The lanes that are to be looked at by then, those first whose time came first, then by name."""
        ...

    # What workers report, and what was replied

    def save_report(self, worker: str, holdings: str | None, *, ends_at: int) -> None:
        """What a worker holds, for a while; None when it leaves."""
        ...

    def reports(self, moment: int) -> Sequence[str]:
        """What the workers hold whose reports have not ended by then."""
        ...

    def find_reply(self, kind: type[T], owner: str, operation: str) -> T | None:
        """What this operation was replied, of this class; None for one that is new, or was long ago."""
        ...

    def save_reply(self, owner: str, operation: str, reply: object, *, ends_at: int) -> None:
        """Keep what it is replied, a frozen dataclass, until then."""
        ...

    def forget_replies(self, moment: int) -> None:
        """Forget those that were to be kept until then at most."""
        ...
