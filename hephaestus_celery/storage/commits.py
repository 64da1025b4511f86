"""Values of commits: what a claimed step came to, and what the store replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.joins import Settlement, Shortfall
from hephaestus_celery.core.execution.state import AtDone, Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.queries import StoredRun
from hephaestus_celery.storage.starts import PreparedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The fields that every commit has. ``entry`` is the history entry's JSON text.

    ``took`` is how long the step was executed, in nanoseconds. It is for the event stream alone, as ``kind`` of a failure is.
    """

    operation: str
    run_id: str
    activation: Activation
    fence: str
    entry: str
    durations: Durations
    took: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete(Commit):
    """The step gave ``event``. ``result`` and ``metadata`` are JSON texts or None where the step gave none.

    ``configs`` holds the config of each taken target, by its key. Where several sources give a config, ``rank`` decides: the
    source that comes first in the graph wins, whichever commits first. ``stuck`` is the ``failure`` of a run that has
    nothing left to do, or can't reach ``Done`` any more; it is empty if that surely does not happen here. ``done_entry`` is the history entry of ``Done``,
    used only if the settlement reaches it. ``kind`` is that of the failure which a ``FAILED`` transition takes. ``prepared`` holds messages for the steps that this commit may start, by key;
    only those of started steps are sent. ``lanes`` holds the lanes of these messages. For ``expected``, ``computed``,
    ``undo`` and ``at_done``, see :func:`hephaestus_celery.core.execution.transitions.complete`.

    The others are used only if the commit reaches ``Done``: ``outcome`` is the result of the run as JSON text, or where that
    could not be computed its ``failure``; None where the workflow gives none. ``refused`` is that failure without its
    traceback, for the event stream.
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
    computed: bool = False
    kind: str | None = None
    undo: Undo | None = None
    at_done: AtDone = AtDone.COMPLETES
    outcome: str | None = None
    refused: str | None = None

    @property
    def targets(self) -> tuple[str, ...] | None:
        """The targets that the store keeps with the step, if a route computed them."""
        return self.settlement.taken if self.computed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend(Commit):
    """The step waits, for an event that it ``accepts`` or for ``timeout`` microseconds.

    ``checks``: the worker that applies an event may drop it. ``discards``: this worker does, and the step waits on.
    """

    accepts: Mapping[str, str]
    timeout: int | None
    checks: bool = False
    discards: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRound(Commit):
    """The step is executed again, in another round, after ``delay`` microseconds; with 0 its message is to be sent at once.

    ``state`` is the JSON text that the round is given; None if it is given nothing.
    """

    delay: int
    state: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry(Commit):
    """The attempt failed, and another is due after ``delay`` microseconds."""

    delay: int
    kind: str = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(Commit):
    """The step failed for good; ``failure`` is the JSON text of an instance's ``failure``."""

    failure: str
    kind: str = "error"


AnyCommit = Complete | Suspend | NextRound | Retry | Fail
"""What a claimed step may come to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a run has ended that has undone what had completed.

    Its ``failure`` (JSON text) and the step that failed it, or the ``reason`` of its cancellation.
    """

    failure: str | None = None
    failed_step: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """What a commit did. ``sequence`` is the first of the event numbers reserved for its events.

    ``dispatches`` are the messages still to be sent; the commit itself has sent the prepared ones. ``resumed``: an event that
    came early is to be applied now, or the next round begins at once. If this commit ended the run, ``completed`` (keys in the order of their completion),
    ``finished_at`` and ``start`` are given; ``ending`` is the number of the first event of the end, if that does not follow
    the others; ``shortfall`` is the counted join that is why it failed. ``undoes``: instead of ending, the run undoes from now on what has
    completed; ``cause`` is given when such a run has ended. With ``CONFLICT`` and ``WANTED``
    nothing happened, and ``run`` is the present state to decide on.
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
    shortfall: Shortfall | None = None
    undoes: bool = False
    cause: Cause | None = None
    run: StoredRun | None = None
