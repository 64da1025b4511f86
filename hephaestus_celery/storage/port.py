"""The port: what a runner asks of a store, and what the store answers.

Every call that changes something is one transition, applied whole or not at all, whatever dies in between; applying the
same call again (same ``operation``) gives the first answer again. User data passes through as opaque JSON text. Times
are microseconds since the epoch on the clock of the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.settle import Settlement
from hephaestus_celery.core.execution.transitions import Due, PendingResume, StepState, Verdict
from hephaestus_celery.core.values.identity import Scope
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.exceptions import AlreadyRunningError, StorageError

SCHEMA = 1
"""How runs are stored, from 1 up. A run bears the number that it was written with: who knows only older ones leaves it alone."""


def written_by_newer(run: str, schema: int) -> StorageError:
    """The error of who was asked for a run that it can't read."""
    return StorageError(
        f"run {run} was written by a newer hephaestus-celery (schema {schema}, this one reads up to {SCHEMA}); upgrade "
        "this process"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedMessage:
    """A broker's message, for a store that is the broker too: ``text`` goes on its list with what makes it due."""

    list: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStep:
    """A step that a run begins with; ``config`` is a JSON text, ``prepared_message`` its message.

    ``lane`` is where that message goes, see :mod:`hephaestus_celery.core.execution.lanes`; None where that can't be known.
    """

    step: str
    config: str | None
    max_attempts: int
    prepared_message: PreparedMessage | None = None
    lane: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be created; ``header`` and ``initial`` are JSON texts. All of ``firsts`` start at once.

    ``message_headers`` is the JSON text of what every message of the run repeats, None where that is nothing.
    """

    operation: str
    run_id: str
    instance_id: str
    name: str
    family: str
    version: int
    scope: Scope
    tags: Sequence[str]
    header: str
    initial: str
    firsts: Sequence[FirstStep]
    schema: int = SCHEMA
    message_headers: str | None = None


def already_running(run: NewRun, holder: str, *, family: str, scope: str) -> AlreadyRunningError:
    """The error of a start whose id an active run of ``family`` holds, which has this ``scope``."""
    wider = f"scope 'global' of {run.family if run.scope == 'global' else family}"
    reason = wider if "global" in (run.scope, scope) else f"scope {run.scope!r} of {run.family}"
    return AlreadyRunningError(
        f"{run.instance_id} is running already (run {holder} of {family}; {reason}); wait for its end, cancel it, or "
        "start another id"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """What is stored of a run, but for its history. JSON texts stay texts; ``start`` is what the start key holds.

    It is as of one moment: ``sequence`` is the last event number given out by then, and a step whose ``order`` is larger
    completed later. Of a large run not all is here: ``lacks_steps`` where states of steps, ``lacks_data`` where results,
    metadata or configs are left out, and ``initial`` is None where the initial context is; see :class:`Reader`.
    """

    header: str
    initial: str | None
    status: Status
    started_at: int
    finished_at: int | None = None
    start: str | None = None
    sequence: int
    lacks_steps: bool = False
    lacks_data: bool = False
    steps: Mapping[str, StepState] = field(default_factory=dict[str, StepState])
    results: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    configs: Mapping[str, str] = field(default_factory=dict[str, str])
    failed_step: str | None = None
    failure: str | None = None
    cancel_reason: str | None = None
    message_headers: str | None = None
    active: int = 0
    applied: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a listing gives of a run: no data. ``steps`` is None where there are many; JSON texts stay texts."""

    id: str
    name: str
    family: str
    version: int
    tags: Sequence[str]
    status: Status
    started_at: int
    finished_at: int | None = None
    start: str | None = None
    failed_step: str | None = None
    steps: Mapping[str, StepState] | None = None


class DataKind(StrEnum):
    """The data of steps, by the prefix of its fields."""

    RESULT = "r"
    METADATA = "m"
    CONFIG = "c"


class Reader(Protocol):
    """Reads what did not come with a run, in bounded calls. ``InstanceNotFoundError`` when the run is not there any more."""

    def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        """A run as it stands; None for an unknown one.

        All states of its steps are there, or, with ``steps``, surely those of these. Data is there where it is small.
        """
        ...

    def read_initial(self, run_id: str) -> str:
        """The initial context."""
        ...

    def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        """Where the steps of a run stand, or some of them: each as of one moment, not all as of the same."""
        ...

    def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        """The data of one kind that these steps have, by step."""
        ...


TURNED_AWAY = 1_000_000
"""Microseconds until a first message that went to the wrong worker is sent again; each further one twice as late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A worker asks for an attempt. ``fence`` is new for each request; ``versions`` are those the worker knows.

    ``workflow`` is the name of the one that the message was for: a run of another is not touched.
    A worker that does not know the run's is turned away, and its message is sent again soon: see :data:`TURNED_AWAY`.
    Of a run with much data, or many steps, the claim brings what these ``predecessors`` gave, as long as that is little;
    ``limit`` is the step's time limit in microseconds, ``holder`` names the task that asks, ``worker`` the worker that
    executes it. ``lane`` is where the message came from, ``token`` which of the attempt's messages it was; None where that is
    not known. ``schema`` is the newest that the worker can read: of a run that is newer, too, it is turned away.
    """

    run_id: str
    workflow: str
    step: str
    attempt: int
    fence: str
    versions: Sequence[int]
    predecessors: Sequence[str] = ()
    limit: int | None = None
    holder: str | None = None
    worker: str | None = None
    lane: str | None = None
    token: int | None = None
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The attempt is this worker's. ``first``: nobody has claimed a step of this run before.

    ``sequence`` is the first event number reserved. ``resume`` is the event to apply where the step had been waiting,
    ``data`` what came with it.
    """

    run: StoredRun
    first: bool
    sequence: int
    queued_at: int
    claimed_at: int
    waiting_since: int | None = None
    resume: PendingResume | None = None
    data: str | None = None


class Refused(StrEnum):
    """Why a claim was not given."""

    UNKNOWN_RUN = "unknown_run"
    FOREIGN = "foreign"  # the run is of another workflow than the message
    UNKNOWN_VERSION = "unknown_version"
    NEWER_SCHEMA = "newer_schema"
    STALE = "stale"
    TAKEN = "taken"
    UNREADABLE = "unreadable"  # it was given, and failed: nothing can be made of what is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A claim that was not given.

    ``detail`` names the run's workflow for ``FOREIGN``, with its version for ``UNKNOWN_VERSION``, and the run's schema for
    ``NEWER_SCHEMA``.
    """

    reason: Refused
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What is the same for every commit. ``entry`` is the history entry's JSON text."""

    operation: str
    run_id: str
    step: str
    fence: str
    entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete(Commit):
    """The step gave ``event``. ``result`` and ``metadata`` are JSON texts or None where the step gave none.

    ``configs`` holds, by key of a taken target, the config it is given, and ``rank`` orders them where several sources
    give one: the source that comes first in the graph wins, whichever commits first. ``stuck`` is the ``failure`` of a
    run that has nothing left to do, empty where the settlement surely starts a step. ``done_entry`` is the history entry
    of ``Done``, of no matter where the settlement can't reach it. ``prepared`` are messages for steps that this may
    start, by their keys; those of steps that it does not start are not sent. ``lanes`` are where the messages of all that
    it may start go. ``expected``: see
    :func:`hephaestus_celery.core.execution.transitions.complete`.
    """

    event: str
    result: str | None
    metadata: str | None
    settlement: Settlement
    attempts: Mapping[str, int]
    configs: Mapping[str, str]
    rank: int
    done_entry: str
    stuck: str
    prepared: Mapping[str, PreparedMessage] = field(default_factory=dict[str, PreparedMessage])
    lanes: Mapping[str, str] = field(default_factory=dict[str, str])
    expected: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend(Commit):
    """The step waits, for an event that it ``accepts`` or for ``timeout`` microseconds."""

    accepts: Mapping[str, str]
    timeout: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry(Commit):
    """The attempt failed, and another is due after ``delay`` microseconds."""

    delay: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(Commit):
    """The step failed for good; ``failure`` is the JSON text of an instance's ``failure``."""

    failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """What a commit did. ``sequence`` is the first of the event numbers reserved for telling it.

    ``dispatches`` are the messages that are to be sent: those of prepared were, together with the commit. ``resumed``: an
    event that came early is to be applied now. ``completed`` (keys in the order of their completion),
    ``finished_at`` and ``start`` are given when the run has ended by this commit; ``ending`` is the number of the first event
    that tells the end, where it does not follow the others. With ``CONFLICT`` nothing happened, and ``run`` is the newer
    state to decide on.
    """

    verdict: Verdict
    sequence: int = 0
    status_before: Status = Status.RUNNING
    status_after: Status = Status.RUNNING
    advance: int = 0
    active: int = 0
    activated: Sequence[str] = ()
    dispatches: Sequence[DispatchStep] = ()
    resumed: bool = False
    completed: Sequence[str] = ()
    finished_at: int | None = None
    start: str | None = None
    ending: int | None = None
    run: StoredRun | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event for whichever step waits for it, or for ``step`` alone. ``keep``: until one waits.

    ``key`` names the event, so that the run takes it once.
    """

    operation: str
    run_id: str
    name: str
    data: str
    step: str | None
    keep: bool
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """The outcome; ``steps`` are those that wait for the event, ``executing`` those being executed at this moment.

    Of an event that was there already (``REPEATED``) there is nothing more to say.
    """

    outcome: Delivered
    status: Status = Status.RUNNING
    steps: Sequence[str] = ()
    executing: Sequence[str] = ()
    dispatches: Sequence[DispatchStep] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """A cancelled run. ``run`` has its steps as they stood."""

    sequence: int
    run: StoredRun

    @property
    def held(self) -> Mapping[str, tuple[str | None, str | None]]:
        """The steps that were being executed, or whose event was being applied: the task and the worker that had each."""
        return {key: (step.holder, step.worker) for key, step in self.run.steps.items() if self._wants(step, held=True)}

    @property
    def sent(self) -> Sequence[DispatchStep]:
        """The last message of each step that nobody had begun with."""
        unclaimed = [(key, step) for key, step in self.run.steps.items() if self._wants(step, held=False)]
        return [DispatchStep(key, step.attempt, step.dispatch) for key, step in unclaimed if not step.resting]

    @staticmethod
    def _wants(step: StepState, *, held: bool) -> bool:
        wanted = step.status is StepStatus.ACTIVE or (step.status is StepStatus.WAITING and step.resume is not None)
        return wanted and (step.fence is not None) is held


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claimed step, to be kept by a sign of life."""

    run_id: str
    step: str
    fence: str


RESCUE_REASONS: Mapping[Due, str] = {
    Due.LAPSED: "its worker gave no sign of life",
    Due.OVERRAN: "its time limit is over",
    Due.REDISPATCH: "its message was not claimed",
    Due.REAPPLY: "who applied its event is gone",
}
"""What the history and ``step.rescue`` say of each kind of rescue; see :func:`rescue_reason`."""


def rescue_reason(kind: Due, step: StepState) -> str:
    """The same for a step in this state: of who was applying its event nothing was heard as of any other."""
    return RESCUE_REASONS[Due.REAPPLY if kind is Due.LAPSED and step.resume is not None else kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuedRun:
    """What is told of a run with a rescue that cost no attempt; its contexts and results, which may be large, are not read."""

    header: str
    status: Status
    started_at: int
    start: str | None
    step: StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class DueEntry:
    """Something that came due and wants more than the store can do.

    ``dispatch`` is to be sent; for ``LAPSED`` and ``OVERRAN`` the attempt is to be failed, with ``fence``, whether it was
    executed or its event was being applied; for ``SETTLE`` what follows the step is to be settled. ``sequence``
    is the number reserved for telling a rescue, 0 where nothing is to be told; ``run`` is what is to be told of one that
    cost no attempt. ``message_headers`` are the run's.
    """

    kind: Due
    run_id: str
    name: str
    version: int
    dispatch: DispatchStep
    fence: str | None = None
    sequence: int = 0
    run: RescuedRun | None = None
    message_headers: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """A message that is late. ``passed``: one that was sent later on its lane had been claimed when an earlier look was taken."""

    run_id: str
    name: str
    version: int
    dispatch: DispatchStep
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that was sent, and the lane that it went to."""

    run_id: str
    dispatch: DispatchStep
    lane: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """Messages of a lane that may be lost. ``moves``: something was claimed there since the last look."""

    lane: str
    moves: bool
    outstanding: Sequence[Outstanding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What has come due. ``held``: the caller is the one scheduler; ``more``: ask again at once.

    ``next_in`` is how many microseconds there are until the next entry comes due, None where there is none.
    ``troubles`` says of entries that could not be read why not; they are put off. ``lanes`` are looked at by their own
    times, while something waits there: of those where something may be lost, whoever knows the workers decides that it is.
    """

    held: bool
    next_in: int | None = None
    more: bool = False
    entries: Sequence[DueEntry] = ()
    troubles: Sequence[str] = ()
    lanes: Sequence[LaneReport] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """One line of a run's history; ``detail`` is the JSON text that the commit brought."""

    sequence: int
    outcome: str
    queued_at: int | None
    started_at: int | None
    finished_at: int | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The runs that an instance id may mean: the active ones, and the newest of all."""

    active: Sequence[str]
    newest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A page of runs, newest first: all filters must match. Times are microseconds; ``cursor`` is from a page before."""

    statuses: frozenset[Status] = frozenset(Status)
    name: str | None = None
    version: int | None = None
    family: str | None = None
    id: str | None = None
    tag: str | None = None
    started_after: int | None = None
    started_before: int | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long a claim holds without a sign of life, how long a message may wait, how long an ended run is kept.

    ``retention`` is None where runs are kept for ever.
    """

    lease: timedelta = timedelta(seconds=30)
    dispatch_timeout: timedelta = timedelta(seconds=30)
    retention: timedelta | None = timedelta(days=7)


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

    def is_one_with(self, other: Storage) -> bool:
        """Whether another is this one, or surely keeps its runs in the same place."""
        ...

    def adopt(self, durations: Durations) -> Durations:
        """Take those durations that it was not given itself when it was made.

        Gives what holds from now on, for whoever uses the store: there is one lease, not one of the store's and another of
        those who renew it. Called by a runtime before all else; of several runtimes of one storage the first one's hold.
        """
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
        """Apply what a claimed step answered."""
        ...

    def settle(self, run_id: str, step: str) -> Commitment:
        """Go on with what follows a step whose commit was not carried out to its end, see ``Due.SETTLE``; ``""``: a start.

        Gives what that has come to, of which nothing was told or sent; ``STALE`` when nothing is left of it. It comes due
        again at once while there is more.
        """
        ...

    def renew(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """Signs of life; False for a step that is not held with this fence any more."""
        ...

    def seize(
        self, run_id: str, step: str, *, attempt: int, holder: str, fence: str, entry: str, overran: bool = False
    ) -> int | None:
        """Take an attempt from the task that held it, with a new fence: the number of the rescue's event.

        None when that task does not hold it (any more). So it is, too, where that task was applying an event: this comes due
        at once; see :func:`hephaestus_celery.core.execution.transitions.due`. ``overran``: the task was ended at its time limit.
        """
        ...

    def schedule(self, run_id: str, step: str, *, reference: str, delay: int) -> bool:
        """A durable timer that gives ``step`` the event ``timeout``; False when the run has ended."""
        ...

    def unschedule(self, run_id: str, step: str, *, reference: str, operation: str) -> bool:
        """Take a timer back; False when it has fired, was taken back, or its run has ended."""
        ...

    def tick(self, partition: int, *, owner: str, worker: str, seize: bool) -> Tick:
        """Do what has come due in a partition, if nobody else does; with ``seize`` also take lost attempts."""
        ...

    def resend(
        self, partition: int, lost: Mapping[Outstanding, str | None], *, lane: str, operation: str, worker: str
    ) -> Sequence[DueEntry]:
        """These messages of a lane are lost; others are to be sent, to the lanes given where they are known.

        Gives those: what has been claimed since is left alone. At most a few dozen at a time.
        """
        ...

    def redirect(self, sent: Sequence[Sent]) -> None:
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

    def cancel(self, run_id: str, *, operation: str, reason: str | None, entry: str) -> Cancellation | None:
        """End a run; None when it has ended already. ``InstanceNotFoundError`` for an unknown one."""
        ...

    def candidates(self, instance_id: str, *, family: str | None) -> Candidates:
        """The runs of an instance id, of one workflow family or of all."""
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
