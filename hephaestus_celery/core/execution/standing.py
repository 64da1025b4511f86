"""Why a step does not move: a pure function from facts (due entry, message, lease, workers, scheduler) to a reason.

Nothing is guessed from a status: each reason follows from what the store, the broker and the reports of workers say. Times are
microseconds on the clock of the store.

Law held here: a step that is active or waiting has exactly one reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from hephaestus_celery.core.values.step_state import StepState

SILENT = 5_000_000
"""Microseconds after which a scheduler that was not heard of counts as gone; the one at work is heard every two seconds."""

REPORTED = 11_000_000
"""Microseconds after which a worker has told what it holds: it does so every ten seconds at least."""
MOVED_BY_SCHEDULER = "a worker, or celery -A APP hephaestus scheduler"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """The facts of one step. ``due_at`` is when its due entry comes due; None where it has none.

    ``failed_at`` is when the last attempt of a step that backs off had failed, which the history knows; None where nobody asked.
    ``sent_at`` is when its unclaimed message was sent, and ``before`` how many that were sent earlier to the same lane wait
    too; None and 0 where no message of it waits in a lane.
    """

    state: StepState
    due_at: int | None = None
    failed_at: int | None = None
    sent_at: int | None = None
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneFacts:
    """A lane: how many messages wait, when the newest claimed one had been sent, and when lost ones are looked for next."""

    waiting: int = 0
    mark: int | None = None
    next_look: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerFacts:
    """Who holds the scheduler lock, and when it was heard of last; ``late``: how long the oldest due entry is overdue."""

    owner: str | None = None
    seen_at: int | None = None
    late: int = 0

    def is_silent(self, now: int) -> bool:
        """Whether no scheduler is at work."""
        return self.seen_at is None or now - self.seen_at > SILENT


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The facts of some steps of a run, of one moment ``at``. ``scheduler`` is None where the store has no lock for one.

    ``copies`` is the earlier run of which data is still copied for this one; None where it is whole.
    """

    at: int
    steps: Mapping[str, StepFacts] = field(default_factory=dict[str, StepFacts])
    lanes: Mapping[str, LaneFacts] = field(default_factory=dict[str, LaneFacts])
    scheduler: SchedulerFacts | None = None
    copies: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFacts:
    """What is known of a step's unclaimed message outside the store.

    ``consumers`` are the living workers that take from its queue; ``knowing`` those of them that know the version of the
    workflow, None where a report does not say. ``holder`` has taken the message and not begun; ``rate`` is the rate limit that
    it applies to the task. ``queued`` is the length of the queue; None where that can't be known.
    """

    queue: str
    consumers: Sequence[str] = ()
    knowing: Sequence[str] | None = None
    holder: str | None = None
    rate: str | None = None
    queued: int | None = None


class Cause(StrEnum):
    """What keeps a step from moving."""

    EXECUTING = "executing"  # a worker executes it, under a lease
    APPLYING = "applying"  # a worker applies its event, under a lease
    BACKOFF = "backoff"  # between two attempts
    ROUND = "round"  # between two rounds of an `Again`
    EVENT = "event"  # it waits for one from outside
    TIMER = "timer"  # it waits for a time alone
    PAUSED = "paused"  # its run or its workflow is
    RELEASED = "released"  # a pause is over, and what it has held is sent, slice by slice
    COPYING = "copying"  # of the whole run: its data is copied from an earlier one
    STARTING = "starting"  # of the whole run: its next steps are started, slice by slice
    QUEUE_WITHOUT_CONSUMER = "queue_without_consumer"
    UNKNOWN_VERSION = "unknown_version"  # no worker of its queue knows it
    RATE_LIMIT = "rate_limit"  # of Celery: a worker holds its message
    HELD = "held"  # a worker has taken its message and is busy
    BACKLOG = "backlog"  # its message waits in the queue
    SENT = "sent"  # nothing is before its message
    MESSAGE_LOST = "message_lost"  # neither in the queue nor held by a worker
    NO_SCHEDULER = "no_scheduler"  # what it waits for is over, and nobody is at work who would see that
    NOTHING_DUE = "nothing_due"  # nothing will move it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why one step does not move: what it waits for, since when, until when at most, and what would move it.

    ``step`` is None where this is about the whole run.
    """

    step: str | None
    cause: Cause
    waits_for: str
    since: int | None = None
    until: int | None = None
    moved_by: str


def reason(step: str, facts: StepFacts, run: RunFacts, *, workflow: str, message: MessageFacts | None = None) -> Reason:
    """Why a step does not move; ``workflow`` names it with its version, and ``message`` is asked for an unclaimed message."""
    state = facts.state
    if state.fence is not None:
        found = _held_by_worker(step, facts)
    elif state.between_rounds:
        found = _between_rounds(step, facts)
    elif state.backing_off:
        found = _backing_off(step, facts)
    elif state.waits:
        found = _waiting(step, facts)
    elif state.held is not None:
        found = _released(step, facts)
    else:
        lane = run.lanes.get(state.lane or "", LaneFacts())
        message = message or MessageFacts(queue="")
        found = _unclaimed(_Unclaimed(step=step, at=run.at, facts=facts, lane=lane, workflow=workflow, message=message))
    overdue = found.until is not None and found.until < run.at
    needed = overdue or found.cause in (Cause.MESSAGE_LOST, Cause.RELEASED)
    return _without_scheduler(found, run) if needed else found


def _held_by_worker(step: str, facts: StepFacts) -> Reason:
    state = facts.state
    worker = state.worker or "a worker"
    if state.resume is not None:
        return Reason(
            step=step,
            cause=Cause.APPLYING,
            waits_for=f"{worker} to apply the event {state.resume.event!r}",
            since=state.claimed_at,
            until=facts.due_at,
            moved_by="the commit of the worker; if it is lost, the end of its lease",
        )
    return Reason(
        step=step,
        cause=Cause.EXECUTING,
        waits_for=f"{worker} to end attempt {_attempt(state)}",
        since=state.claimed_at,
        until=facts.due_at,
        moved_by="the end of execute; if the worker is lost, the end of its lease, which is renewed while it lives",
    )


def _backing_off(step: str, facts: StepFacts) -> Reason:
    return Reason(
        step=step,
        cause=Cause.BACKOFF,
        waits_for=f"its backoff before attempt {_attempt(facts.state)}",
        since=facts.failed_at,
        until=facts.due_at,
        moved_by="the end of the backoff",
    )


def _between_rounds(step: str, facts: StepFacts) -> Reason:
    return Reason(
        step=step,
        cause=Cause.ROUND,
        waits_for=f"the time when its round {facts.state.round} begins",
        since=facts.state.waiting_since,
        until=facts.due_at,
        moved_by="its timer",
    )


def _waiting(step: str, facts: StepFacts) -> Reason:
    state = facts.state
    events = sorted(name for name in state.accepts if name != "timeout")
    if not events:
        return Reason(
            step=step,
            cause=Cause.TIMER,
            waits_for="its time" if facts.due_at is not None else "a timeout that nobody has set",
            since=state.waiting_since,
            until=facts.due_at,
            moved_by="its timer" if facts.due_at is not None else "schedule_resume, or cancelling the run",
        )
    names = " or ".join(map(repr, events))
    return Reason(
        step=step,
        cause=Cause.EVENT,
        waits_for=f"the event {names}",
        since=state.waiting_since,
        until=facts.due_at,
        moved_by=f"resume RUN {events[0]}" + ("" if facts.due_at is None else ", or its timeout"),
    )


def _released(step: str, facts: StepFacts) -> Reason:
    return Reason(
        step=step,
        cause=Cause.RELEASED,
        waits_for="its message, which a pause has kept and a scheduler sends now",
        since=facts.state.accepted or None,
        moved_by="a scheduler, which sends what a pause has kept in slices",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unclaimed:
    """An unclaimed message of a step, and all that is known of it ``at`` a moment."""

    step: str
    at: int
    facts: StepFacts
    lane: LaneFacts
    workflow: str
    message: MessageFacts

    @property
    def what(self) -> str:
        resume = self.facts.state.resume
        return f"attempt {_attempt(self.facts.state)}" if resume is None else f"event {resume.event!r}"

    def because(self, cause: Cause, waits_for: str, moved_by: str, *, until: int | None = None) -> Reason:
        state = self.facts.state
        since = state.queued_at if state.resume is None else state.resume.at
        return Reason(step=self.step, cause=cause, waits_for=waits_for, since=since, until=until, moved_by=moved_by)


def _unclaimed(found: _Unclaimed) -> Reason:
    reasons = (rule(found) for rule in (_unknown_place, _unattended, _unknown_version, _held, _lost, _in_queue))
    return next(reason for reason in reasons if reason is not None)


def _unknown_place(found: _Unclaimed) -> Reason | None:
    facts = found.facts
    if facts.sent_at is None and facts.due_at is None:
        return found.because(
            Cause.NOTHING_DUE, f"nothing: no message of {found.what} is known", "nothing does; doctor says more"
        )
    if facts.sent_at is not None:
        return None
    return found.because(
        Cause.SENT,
        f"a worker to take the message of {found.what}",
        "a worker that takes it; else it is sent again",
        until=facts.due_at,
    )


def _unattended(found: _Unclaimed) -> Reason | None:
    if found.message.consumers:
        return None
    queue = found.message.queue
    return found.because(
        Cause.QUEUE_WITHOUT_CONSUMER,
        f"a worker that takes from queue {queue}: none does",
        f"a worker started with -Q {queue}",
    )


def _unknown_version(found: _Unclaimed) -> Reason | None:
    message = found.message
    if message.knowing is None or message.knowing:
        return None
    return found.because(
        Cause.UNKNOWN_VERSION,
        f"a worker of queue {message.queue} that knows {found.workflow}, which {_names(message.consumers)} can't execute",
        "a worker with code that defines it",
        until=found.facts.due_at,
    )


def _held(found: _Unclaimed) -> Reason | None:
    holder, rate = found.message.holder, found.message.rate
    if holder is None:
        return None
    if rate is not None:
        return found.because(
            Cause.RATE_LIMIT,
            f"{holder}, which holds the message of {found.what} back by the rate limit {rate}",
            "time, or a higher rate_limit",
        )
    return found.because(
        Cause.HELD,
        f"{holder}, which has taken the message of {found.what} and is busy",
        "the end of what that worker executes; if it is lost, the message is sent again",
    )


def _lost(found: _Unclaimed) -> Reason | None:
    if found.message.queued != 0:
        return None
    if found.at - (found.facts.sent_at or 0) < REPORTED:
        return found.because(
            Cause.SENT,
            f"a worker to begin {found.what}: the message has just left queue {found.message.queue}",
            "the worker that has taken it, which tells within seconds what it holds",
        )
    return found.because(
        Cause.MESSAGE_LOST,
        f"the message of {found.what}, which is neither in queue {found.message.queue} nor with a worker",
        "the look for lost messages at that time, which sends it again",
        until=found.lane.next_look if found.facts.due_at is None else found.facts.due_at,
    )


def _in_queue(found: _Unclaimed) -> Reason | None:
    before, message = found.facts.before, found.message
    queued = "" if message.queued is None else f" ({message.queued:,} not taken yet)"
    if before or (message.queued or 0) > 1:
        ahead = f"{before:,} messages before its own" if before > 1 else "the message before its own"
        ahead = ahead if before else "its turn"
        return found.because(
            Cause.BACKLOG,
            f"{ahead} in queue {message.queue}{queued}",
            f"the workers of queue {message.queue}, or more of them",
        )
    return found.because(
        Cause.SENT, f"a worker to take its message from queue {message.queue}", _names(message.consumers)
    )


def _without_scheduler(found: Reason, run: RunFacts) -> Reason:
    scheduler = run.scheduler
    if scheduler is None or not scheduler.is_silent(run.at):
        return found
    return Reason(
        step=found.step,
        cause=Cause.NO_SCHEDULER,
        waits_for=f"a scheduler: none is at work, and it waits for {found.waits_for}",
        since=found.since,
        until=found.until,
        moved_by=MOVED_BY_SCHEDULER,
    )


def _attempt(state: StepState) -> str:
    number = f"{state.attempt} of {state.max_attempts}"
    return number if state.round == 1 else f"{number} in round {state.round}"


def _names(workers: Sequence[str]) -> str:
    return workers[0] if len(workers) == 1 else f"{workers[0]} and {len(workers) - 1} more"
