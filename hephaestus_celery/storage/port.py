"""The port of a storage: what runners and clients ask of it, and what it replies.

Every call that changes something is one transition, applied whole or not at all, even if a process dies in the middle.
Repeating a call (same ``operation``) gives the first reply again. User data passes through as opaque JSON text. Times are
microseconds since the epoch on the clock of the store. A store has no settings for leases, late messages or retention: each
call that depends on them brings its ``durations``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.resolve import Candidates
from hephaestus_celery.core.execution.standing import RunFacts
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.storage.async_port import AsyncStorage
from hephaestus_celery.storage.claims import Attempt, Claim, ClaimRequest, Refusal
from hephaestus_celery.storage.commits import AnyCommit, Commitment
from hephaestus_celery.storage.due import DueEntry, Outstanding, Sent, Tick
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.event_stream import Reading
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.pauses import PauseReport, PauseRequest
from hephaestus_celery.storage.queries import Query, Reader, StoredEntry
from hephaestus_celery.storage.reruns import Copied, Rerun
from hephaestus_celery.storage.resume_and_cancel import Cancellation, CancelRequest, Delivery, DeliveryReport
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
        """The URL of the server, which may also be the broker; None if there is no URL, or it does not say enough."""
        ...

    def is_one_with(self, other: Storage) -> bool:
        """Whether the other storage is this one, or surely keeps its runs in the same place."""
        ...

    def now(self) -> int:
        """Microseconds on the clock of the store; raises if the store is out of reach."""
        ...

    def create(self, run: NewRun) -> Sequence[DispatchStep]:
        """Store a run and its start; ``AlreadyRunningError`` when an active run holds the id within the scope.

        Gives the messages still to be sent; the call itself has sent the prepared ones.
        """
        ...

    def rerun(self, rerun: Rerun) -> Sequence[DispatchStep]:
        """Make a new run of an earlier one, with all data that it needs. Nothing of it is sent before all of that is there.

        Gives the messages still to be sent, as :meth:`create` does. The first call to the store reserves the id and makes
        the new run. If the caller is lost after it, a scheduler copies the rest, see ``Due.COPY``. ``AlreadyRunningError``
        when an active run holds the id, ``RunStateError`` when the earlier run can't be retried,
        ``InstanceNotFoundError`` when it is gone; these have stored nothing.
        """
        ...

    def copy(self, run_id: str, *, durations: Durations) -> Copied:
        """Copy another slice of what a rerun needs of the earlier run, for a scheduler that takes over.

        The caller sends what the result names. While more is to be copied, the entry comes due again at once.
        """
        ...

    def create_many(self, runs: Sequence[NewRun]) -> Sequence[Sequence[DispatchStep] | Exception]:
        """Store several runs, each by itself, in the order given; gives for each what ``create`` gives, or raises.

        After a ``StorageError`` that is transient, all runs that follow have one too. ``stored`` is False where that is sure.
        """
        ...

    def claim(self, request: ClaimRequest) -> Claim | Refusal:
        """Take an attempt, or an event delivered to a waiting step."""
        ...

    def commit(self, commit: AnyCommit) -> Commitment:
        """Apply the result of a claimed step."""
        ...

    def settle(self, run_id: str, activation: Activation, *, durations: Durations) -> Commitment:
        """Settle the remaining edges of a step whose commit was interrupted, see ``Due.SETTLE``; of a start without a step key.

        The caller emits and sends what the result names. ``STALE`` means that nothing is left to settle. While edges remain,
        the entry comes due again at once.
        """
        ...

    def undo(self, run_id: str, *, durations: Durations) -> Commitment:
        """Go through a slice of a large run that undoes, see ``Due.UNDO``, as :meth:`settle` does with edges."""
        ...

    def renew(self, attempts: Sequence[Attempt], *, wanted: bool = False) -> Sequence[bool]:
        """Renew the leases of attempts, each for its own time; False if the attempt is no longer held with its fence.

        ``wanted``: also False, although it is renewed, if the run of the attempt undoes what has completed, and the attempt is none
        of a compensation.
        """
        ...

    def seize(
        self,
        run_id: str,
        activation: Activation,
        *,
        attempt: int,
        holder: str,
        fence: str,
        reason: str,
        worker: str | None,
        durations: Durations,
        timed_out: bool = False,
    ) -> DueEntry | None:
        """Take an attempt from the task that held it, with a new fence; gives all that is needed to fail the attempt.

        None if the task does not hold it, or was applying an event. Then the event comes due at once; see
        :func:`hephaestus_celery.core.execution.due.due`. ``timed_out``: the task was ended at its time limit.
        ``reason`` and ``worker`` say in the history how that was noticed, and where.
        """
        ...

    def schedule(self, run_id: str, activation: Activation, *, reference: str, delay: int) -> bool:
        """A durable timer that gives the step the event ``timeout``; False when the run has ended."""
        ...

    def unschedule(self, run_id: str, activation: Activation, *, reference: str, operation: str) -> bool:
        """Take a timer back; False if it has fired, was taken back already, or its run has ended."""
        ...

    def tick(self, partition: int, *, owner: str, worker: str, seize: bool, durations: Durations) -> Tick:
        """Handle what has come due in a partition, unless another scheduler does; with ``seize`` also take lost attempts."""
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
        """Replace lost messages of a lane; ``lost`` maps each to the lane of its replacement, None if that is not known.

        Gives the replacements, which the caller sends. Messages claimed since are left alone. At most a few dozen at a time.
        """
        ...

    def redirect(self, sent: Sequence[Sent], *, durations: Durations) -> None:
        """Record that messages went to other lanes than expected; repeating the call changes nothing more.

        A message that was claimed since, or is not the last of its step, is left alone.
        """
        ...

    def outstanding(self, *lanes: str) -> int:
        """How many unclaimed messages wait in these lanes, over all partitions."""
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
        """Wait at most ``timeout`` seconds for something that comes due sooner than was known; whether it came."""
        ...

    def separate(self) -> Storage:
        """The same store, over connections and locks of its own: for threads that live while processes fork."""
        ...

    def read_clock(self) -> None:
        """Read the clock of the store, if that takes a request. Processes that are forked later know what was read."""
        ...

    def deliver(self, delivery: Delivery) -> DeliveryReport:
        """Record an event for a waiting step; a worker applies it."""
        ...

    def cancel(self, request: CancelRequest) -> Cancellation | None:
        """End a run; None if it has ended already. ``InstanceNotFoundError`` for an unknown run.

        With ``compensate`` it undoes first what has completed; None if it does so already.
        """
        ...

    def read_events(
        self, partition: int, *, group: str, consumer: str, limit: int, after: str | None = None
    ) -> Reading:
        """Entries of the event stream for a consumer of a group: new ones, or its own behind ``after``, not acknowledged yet.

        A new group begins with the oldest entry that is kept. What is given stays in the hands of the consumer.
        """
        ...

    def take_over_events(
        self, partition: int, *, group: str, consumer: str, limit: int, idle: int, start: str
    ) -> Reading:
        """Entries that nobody has acknowledged for ``idle`` microseconds; they are the consumer's from then on.

        A store may look at some of them only, from the id ``start`` on, and says where to go on.
        """
        ...

    def browse_events(self, partition: int, *, after: str | None, limit: int) -> Reading:
        """Entries behind ``after``, or the oldest ones; no group learns of it."""
        ...

    def acknowledge_events(self, partition: int, *, group: str, ids: Sequence[str]) -> None:
        """These entries are done with, and are given to no consumer of the group again."""
        ...

    def acknowledge_events_in_part(self, partition: int, *, group: str, id: str, places: Sequence[int]) -> None:
        """The events at these places of an entry are done with, and others of it are not: it stays in hands."""
        ...

    def leave_events(self, partition: int, *, group: str, consumer: str) -> None:
        """A consumer is gone; what it has in hands is taken over as ever."""
        ...

    def await_events(self, partition: int, *, newest: str, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds, or less, for an entry behind ``newest``; whether there is one."""
        ...

    def pause(self, request: PauseRequest) -> PauseReport:
        """Pause a run: none of its steps is claimed any more. ``InstanceNotFoundError`` for an unknown run."""
        ...

    def unpause(self, request: PauseRequest) -> PauseReport:
        """Let a run go on, unless its workflow is paused: what was held comes due at once, see :meth:`tick`."""
        ...

    def pause_workflow(self, family: str, *, operation: str, by: str | None, durations: Durations) -> bool:
        """Pause all runs of a workflow family, future ones too; False if it is paused already.

        With several partitions, a call that was interrupted may have reached some of them. A repetition reaches them all.
        """
        ...

    def unpause_workflow(self, family: str, *, operation: str, durations: Durations) -> bool:
        """Let a workflow family go on; False if it is not paused. Its runs come due in slices, see :meth:`tick`."""
        ...

    def paused_workflows(self) -> Mapping[str, PauseMark]:
        """The workflow families that are paused."""
        ...

    def cancel_many(
        self, run_ids: Sequence[str], *, operation: str, reason: str | None, entry: str, durations: Durations
    ) -> Sequence[Cancellation | Untouched]:
        """End several runs, each by itself; gives for each its cancellation, whose run has no steps and data, or why not.

        The operation is one for all. After a ``StorageError`` some of them may have ended.
        """
        ...

    def delete_many(self, run_ids: Sequence[str], *, operation: str) -> Sequence[Untouched | None]:
        """Delete several ended runs, each by itself and with all that is stored of it; gives for each None, or why not.

        The operation is one for all. After a ``StorageError`` some of them may be deleted.
        """
        ...

    def candidates(self, instance_id: str, *, family: str | None, version: int | None = None) -> Candidates:
        """The runs of an instance id, of one workflow family or of all families; with ``version`` only of this version."""
        ...

    def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]:
        """A run's history, in the order of its commits: the entries with a number above ``after``, at most ``limit``.

        Entries of one number stay together: there may be one or two fewer, or more where the first have the same number.
        """
        ...

    def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
        """A page of runs with their run ids, and the cursor of the next page; None after the last."""
        ...

    def list_run_ids(self, query: Query) -> tuple[Sequence[str], str | None]:
        """The run ids of a page of runs alone, and the cursor of the next page; None after the last."""
        ...

    def count_runs(self, query: Query) -> int:
        """How many runs match; ``limit`` and ``cursor`` do not count.

        Other calls may change runs meanwhile, so the number is exact only where nothing changes.
        """
        ...

    def runs_beginning_with(self, beginning: str, *, limit: int) -> Sequence[str]:
        """The run ids that begin with this text, at most so many; those of one partition newest first."""
        ...

    def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]:
        """When the due entry (timer, backoff or lease) of each step of these runs comes due; None where it has none."""
        ...

    def facts(self, run_id: str, steps: Sequence[Activation]) -> RunFacts | None:
        """What these steps wait for, a hundred at most, as of one moment; None for an unknown run.

        It has the steps that the run has started, and none of a run that has ended. ``copies`` tells of a run whose data is
        still being copied.
        """
        ...

    def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        """Wait until a run has a final status; False if that takes longer than ``timeout`` seconds."""
        ...

    def aio(self) -> AsyncStorage:
        """The same store for event loops: no call of it blocks the loop that it runs on, also while the store is silent."""
        ...

    def close(self) -> None:
        """Close the connections; further calls open new ones."""
        ...
