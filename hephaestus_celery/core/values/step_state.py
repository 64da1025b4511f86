"""The state of one step of a run: its status, attempt, lease, timers and event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hephaestus_celery.core.values.lifecycle import Status, StepStatus


class Held(StrEnum):
    """What a pause has kept from a step that awaits a worker."""

    UNSENT = "unsent"  # its message was not sent, or was dropped
    QUEUED = "queued"  # its message may still wait in a queue, and nothing looks for it


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingResume:
    """An event that was delivered to a step, and not applied yet.

    ``losses``: how often a worker that applied it was lost without using up an attempt. ``by``: who has sent it, if that is
    known. ``key``: the key that it came with, if its step ``checks`` events.
    """

    event: str
    source: str  # "external" or "timeout"
    at: int
    losses: int = 0
    by: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """The state of one step. ``fence`` is set while a worker holds the step; only the bearer of the fence may commit.

    ``holder`` names the task that holds the step, ``worker`` the last worker that held it. ``deadline`` is the end of its time
    limit, on the steady clock that timers go by. ``backing_off``: the last attempt failed, and the next is not due yet; or, of a
    step that waits, its next round is not. ``round`` counts the rounds of an ``Again`` from 1, and ``attempt`` the attempts of
    this one. ``noted`` is how many rounds the history of this run has noted.
    ``lane`` is the lane of its last message; None if that is not known. ``sent_at`` is when the last message was sent, on the
    steady clock, if that differs from ``queued_at``. ``resends`` counts the messages that replaced a lost one. ``targets``
    are the keys of the steps that a computed route led to; None if they follow from the step's event and the graph.
    ``origin`` is the run whose idempotency key this activation repeats; None if that is its own run. ``held``: a pause has
    kept it from being sent, until the run goes on. ``checks``: the worker that applies an event may drop it, and the step waits on;
    for that ``times_out_at`` is when its timeout comes due, on the steady clock. ``compensates`` is the step that this one undoes;
    None if it undoes none.
    """

    status: StepStatus
    attempt: int = 1
    max_attempts: int = 1
    dispatch: int = 1
    fence: str | None = None
    queued_at: int | None = None
    claimed_at: int | None = None
    deadline: int | None = None
    holder: str | None = None
    worker: str | None = None
    waiting_since: int | None = None
    accepts: Mapping[str, str] = field(default_factory=dict[str, str])
    resume: PendingResume | None = None
    backing_off: bool = False
    event: str | None = None
    order: int | None = None
    lane: str | None = None
    sent_at: int | None = None
    resends: int = 0
    targets: tuple[str, ...] | None = None
    origin: str | None = None
    held: Held | None = None
    checks: bool = False
    times_out_at: int | None = None
    round: int = 1
    noted: int = 0
    compensates: str | None = None

    @property
    def is_dropped(self) -> bool:
        """Whether the step was started, and dropped before it had ended, since its run undoes what has completed."""
        return self.status is StepStatus.SKIPPED and self.attempt > 0

    @property
    def is_compensating(self) -> bool:
        """Whether the step undoes another one, and has not ended."""
        return self.compensates is not None and self.status in (StepStatus.ACTIVE, StepStatus.WAITING)

    @property
    def awaits_claim(self) -> bool:
        """Whether a message of the step is on its way, and not claimed yet."""
        if self.fence is not None or self.backing_off:
            return False
        return self.status is StepStatus.ACTIVE or (self.status is StepStatus.WAITING and self.resume is not None)

    @property
    def accepted(self) -> int:
        """Since when its attempt, or its delivered event, wants a worker."""
        return (self.queued_at if self.resume is None else self.resume.at) or 0

    @property
    def sent(self) -> int:
        """When its last message was sent."""
        return self.sent_at or self.accepted

    @property
    def waits(self) -> bool:
        """Whether the step waits for an event, and has not received one; or for its next round."""
        return self.status is StepStatus.WAITING and self.resume is None

    @property
    def between_rounds(self) -> bool:
        """Whether the step has answered ``Again``, and its next round is not due yet: it waits, and no event reaches it."""
        return self.waits and self.backing_off

    def as_of(self, status: Status) -> StepState:
        """The state in a run of this status: where it has completed without a step that waits, that is skipped."""
        if status is not Status.COMPLETED or not self.waits:
            return self
        return StepState(status=StepStatus.SKIPPED, attempt=0)

    @property
    def can_wait(self) -> bool:
        """Whether the step waits, or may still come to wait, for an event that was not delivered."""
        return self.status is StepStatus.ACTIVE or self.waits

    @property
    def may_wait_on(self) -> bool:
        """Whether the step executes, or has received an event that may be dropped: it may still come to wait."""
        return self.status is StepStatus.ACTIVE or (self.status is StepStatus.WAITING and self.checks)

    def outline(self) -> tuple[str, int, str | None]:
        """Status, attempt and event, for a log line."""
        return self.status, self.attempt, self.event
