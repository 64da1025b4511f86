"""The port of a transaction: what one call of such a store sees and changes, all of it or none.

It is the one thing that such a store has to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from hephaestus_celery.core.execution.due_items import DueItem
from hephaestus_celery.core.execution.uniqueness import Claimant
from hephaestus_celery.storage.transactional.lanes import Lanes
from hephaestus_celery.storage.transactional.record import Record


class Transaction(Protocol):
    """Runs, the due set, lanes and workers' reports, as of one moment.

    Nobody else changes what it has read before it ends. Times are microseconds on the clock that timers go by.
    """

    @property
    def lanes(self) -> Lanes:
        """The lanes of messages; what is done to them is saved with all else."""
        ...

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
        """Run id, item and time of the entries that have come due, the oldest first."""
        ...

    def soonest_due(self) -> int | None:
        """When the next entry comes due."""
        ...

    def save_report(self, worker: str, holdings: str | None, *, ends_at: int) -> None:
        """What a worker holds, for a while; None when it leaves."""
        ...

    def reports(self, moment: int) -> Sequence[str]:
        """What the workers hold whose reports have not ended by then."""
        ...
