"""The port of a storage: what runners and clients ask of it, and what it replies.

Every call that changes something is one transition, applied whole or not at all, whatever dies in between; applying the
same call again (same ``operation``) gives the first answer again. User data passes through as opaque JSON text. Times
are microseconds since the epoch on the clock of the store. How long leases, messages and ended runs are kept says each call
that depends on it (``durations``): a store has no such setting of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.resolve import Candidates
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.storage.claims import Attempt, Claim, ClaimRequest, Refusal
from hephaestus_celery.storage.commits import Commitment, Complete, Fail, Retry, Suspend
from hephaestus_celery.storage.due import DueEntry, Outstanding, Sent, Tick
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.queries import Query, Reader, StoredEntry
from hephaestus_celery.storage.resume_and_cancel import Cancellation, Delivery, DeliveryReport
from hephaestus_celery.storage.starts import NewRun


class Storage(Reader, Protocol):
    """Keeps instances. Raises ``StorageError`` within seconds when it is out of reach."""

    @property
    def name(self) -> str:
        """How telemetry names this storage."""
        ...

    @property
    def partitions(self) -> int:
        """How many due sets there are."""
        ...

    @property
    def url(self) -> str | None:
        """The URL of the server, whose lists may be a broker's too; None where there is none, or it does not name the place."""
        ...

    def is_one_with(self, other: Storage) -> bool:
        """Whether another is this one, or surely keeps its runs in the same place."""
        ...

    def now(self) -> int:
        """Microseconds on the clock of the store; also shows that it is in reach."""
        ...

    def create(self, run: NewRun) -> Sequence[DispatchStep]:
        """Store a run and its start; ``AlreadyRunningError`` when an active run holds the id within the scope.

        Gives what is to be sent; nothing when all its prepared were.
        """
        ...

    def claim(self, request: ClaimRequest) -> Claim | Refusal:
        """Take an attempt, or an event delivered to a waiting step."""
        ...

    def commit(self, commit: Complete | Suspend | Retry | Fail) -> Commitment:
        """Apply the result of a claimed step."""
        ...

    def settle(self, run_id: str, activation: Activation, *, durations: Durations) -> Commitment:
        """Go on with what follows a step whose commit was not carried out to its end, see ``Due.SETTLE``; without a key: a start.

        Gives what that has come to, of which nothing was emitted or sent; ``STALE`` when nothing is left of it. It comes due
        again at once while there is more.
        """
        ...

    def renew(self, attempts: Sequence[Attempt]) -> Sequence[bool]:
        """Renew the leases of attempts, each for its own time; False for one that is not held with its fence any more."""
        ...

    def seize(
        self,
        run_id: str,
        activation: Activation,
        *,
        attempt: int,
        holder: str,
        fence: str,
        entry: str,
        durations: Durations,
        timed_out: bool = False,
    ) -> DueEntry | None:
        """Take an attempt from the task that held it, with a new fence: gives all that failing it needs.

        None when that task does not hold it (any more). So it is, too, where that task was applying an event: this comes due
        at once; see :func:`hephaestus_celery.core.execution.due.due`. ``timed_out``: the task was ended at its time limit.
        """
        ...

    def schedule(self, run_id: str, activation: Activation, *, reference: str, delay: int) -> bool:
        """A durable timer that gives the step the event ``timeout``; False when the run has ended."""
        ...

    def unschedule(self, run_id: str, activation: Activation, *, reference: str, operation: str) -> bool:
        """Take a timer back; False when it has fired, was taken back, or its run has ended."""
        ...

    def tick(self, partition: int, *, owner: str, worker: str, seize: bool, durations: Durations) -> Tick:
        """Do what has come due in a partition, if nobody else does; with ``seize`` also take lost attempts."""
        ...

    def resend(
        self,
        partition: int,
        lost: Mapping[Outstanding, str | None],
        *,
        lane: str,
        operation: str,
        worker: str,
        durations: Durations,
    ) -> Sequence[DueEntry]:
        """These messages of a lane are lost; others are to be sent, to the lanes given where they are known.

        Gives those: what has been claimed since is left alone. At most a few dozen at a time.
        """
        ...

    def redirect(self, sent: Sequence[Sent], *, durations: Durations) -> None:
        """These messages went to other lanes than was said of them when they became due; again is the same as once.

        What has been claimed since, or is not the last message of its step, is left alone.
        """
        ...

    def outstanding(self, *lanes: str) -> int:
        """How many messages that nobody has claimed were sent to these lanes, over all partitions."""
        ...

    def report(self, worker: str, holdings: str | None, *, lifetime: int) -> None:
        """What a worker holds, for ``lifetime`` microseconds; None when it leaves."""
        ...

    def reports(self) -> Sequence[str]:
        """What living workers hold."""
        ...

    def resign(self, *, owner: str) -> None:
        """Let another scheduler take over at once."""
        ...

    def await_due(self, *, timeout: float) -> bool:
        """Wait until something may come due sooner than was known, at most ``timeout`` seconds; whether it did."""
        ...

    def separate(self) -> Storage:
        """The same store, over connections and locks of its own: for threads that live while processes fork."""
        ...

    def deliver(self, delivery: Delivery) -> DeliveryReport:
        """Record an event for a waiting step; a worker applies it."""
        ...

    def cancel(
        self, run_id: str, *, operation: str, reason: str | None, entry: str, durations: Durations
    ) -> Cancellation | None:
        """End a run; None when it has ended already. ``InstanceNotFoundError`` for an unknown one."""
        ...

    def candidates(self, instance_id: str, *, family: str | None, version: int | None = None) -> Candidates:
        """The runs of an instance id, of one workflow family or of all; with ``version`` only those of this version."""
        ...

    def history(self, run_id: str) -> Sequence[StoredEntry]:
        """A run's history, in the order of its commits."""
        ...

    def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
        """A page of runs with their run ids, and the cursor of the next page; None after the last."""
        ...

    def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        """Wait until a run has a final status; False when ``timeout`` seconds were not enough."""
        ...

    def close(self) -> None:
        """Let go of connections; further calls open new ones."""
        ...
