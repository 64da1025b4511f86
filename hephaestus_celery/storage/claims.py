"""Values of claims and leases: a worker asks for an attempt, holds it by a lease, or is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.step_state import PendingResume
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.queries import StoredRun
from hephaestus_celery.storage.schema import SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A worker asks for an attempt. ``fence`` is new for each request; ``versions`` are the ones that the worker knows.

    ``workflow`` names the workflow that the message was for. A run of another workflow is not touched. A worker that does
    not know the run's version is turned away, and its message is sent again soon: see :data:`TURNED_AWAY`.

    For a run with much data or many steps, the claim brings the results of these ``predecessors`` only, if they are small.
    ``limit`` is the step's time limit in microseconds. ``holder`` names the task that asks, ``worker`` the worker that
    executes it. ``lane`` is where the message came from, and ``token`` the number of the message within the attempt; both are
    None where they are not known. ``round`` is that of the message, of an ``Again``. ``schema`` is the newest that the worker can read; it is turned away from a newer run too.
    """

    run_id: str
    workflow: str
    activation: Activation
    attempt: int
    fence: str
    versions: Sequence[int]
    durations: Durations
    predecessors: Sequence[str] = ()
    limit: int | None = None
    holder: str | None = None
    worker: str | None = None
    lane: str | None = None
    token: int | None = None
    round: int = 1
    schema: int = SCHEMA

    def granted(self, *, max_attempts: int) -> Attempt:
        """The attempt that this request is granted, of a step with so many ``max_attempts``."""
        return Attempt(
            run_id=self.run_id,
            activation=self.activation,
            number=self.attempt,
            max_attempts=max_attempts,
            fence=self.fence,
            holder=self.holder,
            lease=self.durations.lease,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What the bearer of an attempt holds, whether it was claimed for a message or seized from a lost worker.

    ``number`` counts from 1 up to ``max_attempts``. A commit needs the ``fence`` of the attempt. ``holder`` is the task that
    executes it, or that it was seized from; None where there is no such task, or it is not known. ``lease`` is how long the
    attempt is held without renewal, in microseconds.
    """

    run_id: str
    activation: Activation
    number: int
    max_attempts: int
    fence: str
    holder: str | None
    lease: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The attempt is this worker's. ``first``: nobody has claimed a step of this run before.

    ``sequence`` is the first event number reserved. If the step was waiting, ``resume`` is the event to apply, and ``data``
    is the data of that event.
    """

    attempt: Attempt
    run: StoredRun
    first: bool
    sequence: int
    queued_at: int
    claimed_at: int
    waiting_since: int | None = None
    resume: PendingResume | None = None
    data: str | None = None


class Refused(StrEnum):
    """Why a claim was not granted."""

    UNKNOWN_RUN = "unknown_run"
    FOREIGN = "foreign"  # the run is of another workflow than the message
    UNKNOWN_VERSION = "unknown_version"
    NEWER_SCHEMA = "newer_schema"
    STALE = "stale"
    TAKEN = "taken"
    PAUSED = "paused"  # the run or its workflow is paused: the message is dropped, and another sent when it goes on
    UNREADABLE = "unreadable"  # it was granted, and the attempt failed: the stored run can't be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A claim that was not granted.

    ``detail`` names the run's workflow for ``FOREIGN``, with its version for ``UNKNOWN_VERSION``, and the run's schema for
    ``NEWER_SCHEMA``.
    """

    reason: Refused
    detail: str = ""
