"""The control state of a run and its transitions: pure functions from a state and an input to a :class:`Decision`.

Contexts are not here: the control state says where a run stands, not what it knows. Each function is one transition,
applied whole or not at all by the storage; `storage/redis/lua` holds the same transitions as scripts. Times are
microseconds on the clock of the store, given by the caller.

Laws held here (tested in ``tests/properties``): a result for a step that is not active in this attempt changes nothing;
applying anything twice equals applying it once; nothing changes after a final status; ``sequence`` grows by exactly the
number of events that the transition tells of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.execution.commands import (
    ClearTimer,
    Command,
    DispatchStep,
    EnterLane,
    Finish,
    LeaveLane,
    SetTimer,
    TimerKind,
)
from hephaestus_celery.core.execution.settle import Arrivals, Settlement, settle
from hephaestus_celery.core.values.lifecycle import Status, StepStatus, derive

DONE = Done.key
EMPTY_LANES: Mapping[str, str] = MappingProxyType({})


LOSSES = 2
"""How often an event is sent again because who was applying it is gone, before that counts as a failed attempt."""
APPLY_MARGIN = 2_000_000
"""Microseconds beyond a step's time limit in which an event is to be applied: behind it there may be a route, which is the
user's code. All else takes no time to speak of, and a limit that is short is not meant for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingResume:
    """An event that was delivered to a step and that no worker has applied yet.

    ``losses``: how often who was applying it was gone, at no cost of an attempt.
    """

    event: str
    source: str  # "external" or "timeout"
    at: int
    losses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyEvent:
    """An event that came before its step waited: kept for the next one that waits for ``name`` (``step``, if it says so)."""

    number: int
    name: str
    step: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """Where one step stands. ``fence`` is set while a worker holds the step; only its bearer may commit.

    ``holder`` names the task that has it, ``worker`` the worker that had it last. ``deadline`` is the end of its time limit, on
    the steady clock that timers go by. ``resting``: the last attempt
    failed, and the next one is not due yet. ``lane`` is where its message went, or the last one came from; None where that
    is not known. ``sent_at`` is when the last message was sent, on the steady clock, where that says something else than ``queued_at``; ``resends`` counts
    those that took the place of a lost one.
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
    resting: bool = False
    event: str | None = None
    order: int | None = None
    lane: str | None = None
    sent_at: int | None = None
    resends: int = 0

    @property
    def awaits_claim(self) -> bool:
        """Whether a message of it is on its way, which nobody has claimed."""
        if self.fence is not None or self.resting:
            return False
        return self.status is StepStatus.ACTIVE or (self.status is StepStatus.WAITING and self.resume is not None)

    def dispatched_as(self, key: str) -> DispatchStep:
        """Its last message, the step's key being this."""
        return DispatchStep(key, self.attempt, self.dispatch)

    @property
    def sent(self) -> int:
        """When its last message was sent."""
        queued = self.queued_at if self.resume is None else self.resume.at
        return self.sent_at or queued or 0

    @property
    def can_wait(self) -> bool:
        """Whether the step may yet wait for an event that has not been delivered."""
        return self.status is StepStatus.ACTIVE or (self.status is StepStatus.WAITING and self.resume is None)

    def outline(self) -> tuple[str, int, str | None]:
        """Status, attempt and event, for a log line."""
        return self.status, self.attempt, self.event


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands. ``sequence`` is the last event number given out, ``advances`` the number of engine ticks.

    ``early`` are the events that are kept, in the order in which they came, the last of which was number ``kept``;
    ``timeouts`` names the steps that a timer came due for before they waited. ``keys`` are those of the events that the
    run has taken.
    """

    status: Status
    steps: Mapping[str, StepState]
    arrivals: Mapping[str, Arrivals] = field(default_factory=dict[str, Arrivals])
    early: tuple[EarlyEvent, ...] = ()
    kept: int = 0
    timeouts: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    sequence: int = 0
    advances: int = 0
    applied: int = 0
    finished_at: int | None = None
    failed_step: str | None = None

    def count(self, status: StepStatus) -> int:
        """How many steps are in this status; in a final run nothing is active or waiting."""
        if self.status.final and status in (StepStatus.ACTIVE, StepStatus.WAITING):
            return 0
        return sum(1 for step in self.steps.values() if step.status is status)


class Verdict(StrEnum):
    """How a transition was taken."""

    APPLIED = "applied"
    DISCARDED = "discarded"  # the run has ended: only the history keeps it
    STALE = "stale"  # not this step, attempt or fence: nothing happened
    TAKEN = "taken"  # a claim: another worker holds the step
    CONFLICT = "conflict"  # a computed transition was decided on an older context


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The state after a transition, what must be done, and the facts that telemetry tells.

    ``sequence`` is the first of ``reserved`` event numbers.
    """

    verdict: Verdict
    state: RunState
    commands: tuple[Command, ...] = ()
    sequence: int = 0
    reserved: int = 0
    activated: tuple[str, ...] = ()
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """``now`` and the deadlines that transitions set, all in microseconds.

    ``now`` is what users are told, and may step. What comes due goes by ``steady``, a clock of the store that goes on
    evenly whatever is done to the other; the same as ``now`` where nothing was.
    """

    now: int
    dispatch_timeout: int
    lease: int
    steady: int | None = None

    @property
    def moment(self) -> int:
        """Now, on the clock that timers go by."""
        return self.now if self.steady is None else self.steady

    @property
    def apart(self) -> int | None:
        """Now on that clock, where it says something else than ``now``."""
        return None if self.moment == self.now else self.moment

    def lease_end(self, deadline: int | None) -> int:
        """When the next sign of life is due: at the end of the lease, or of the time limit where that comes first."""
        end = self.moment + self.lease
        return end if deadline is None else min(end, deadline)


def create(*, initials: Mapping[str, int], times: Times, lanes: Mapping[str, str] = EMPTY_LANES) -> Decision:
    """A new run: its first steps, which come with their ``max_attempts``, are to be dispatched, to these ``lanes``."""
    steps = {
        key: StepState(
            status=StepStatus.ACTIVE,
            max_attempts=attempts,
            queued_at=times.now,
            lane=lanes.get(key),
            sent_at=times.apart,
        )
        for key, attempts in initials.items()
    }
    state = RunState(status=Status.PENDING, steps=steps)
    commands = [command for key, step in steps.items() for command in _queue(key, step, times)]
    return Decision(verdict=Verdict.APPLIED, state=state, commands=tuple(commands))


def claim(
    state: RunState,
    key: str,
    *,
    attempt: int,
    fence: str,
    launch: bool,
    times: Times,
    limit: int | None = None,
    holder: str | None = None,
    worker: str | None = None,
    lane: str | None = None,
    token: int | None = None,
) -> Decision:
    """A worker takes an attempt of a step, or a delivered event of a waiting one.

    The first claim of a run makes it ``running``. ``limit`` is the time limit of the attempt; an event has :data:`APPLY_MARGIN` more. ``launch``: the step is ``Done`` itself, which has no ``step.start``
    of its own at this point. ``lane`` and ``token`` are those of the message that led to it, where they are known.
    """
    step = state.steps.get(key)
    resumed = step is not None and step.status is StepStatus.WAITING and step.resume is not None
    if step is None or state.status.final or step.attempt != attempt:
        return Decision(verdict=Verdict.STALE, state=state)
    if step.resting or (step.status is not StepStatus.ACTIVE and not resumed):
        return Decision(verdict=Verdict.STALE, state=state)
    if step.fence is not None:
        return Decision(verdict=Verdict.TAKEN, state=state)
    first = state.status is Status.PENDING
    reserved = (2 if first else 0) + (0 if resumed or launch else 1)
    deadline = None if limit is None else times.moment + limit + (APPLY_MARGIN if resumed else 0)
    taken = replace(step, fence=fence, claimed_at=times.now, deadline=deadline, holder=holder, worker=worker)
    taken = replace(taken, lane=lane or step.lane)
    # An older copy of its message says nothing of what was sent since.
    sent = step.sent if token in (None, step.dispatch) else replace(step, sent_at=None).sent - times.now + times.moment
    after = replace(
        _with_step(state, key, taken),
        status=Status.RUNNING if first else state.status,
        advances=1 if first else state.advances,
        sequence=state.sequence + reserved,
    )
    lease = SetTimer(key, TimerKind.LEASE, times.lease_end(deadline))
    left = () if taken.lane is None else (LeaveLane(key, step.lane, taken.lane, sent),)
    return _decided(state, after, reserved, commands=(lease, *left))


def renew(state: RunState, key: str, *, fence: str, times: Times) -> Decision:
    """A sign of life of who holds a step; ``STALE`` when it is not held any more."""
    step = state.steps.get(key)
    if step is None or step.fence != fence or state.status.final:
        return Decision(verdict=Verdict.STALE, state=state)
    lease = SetTimer(key, TimerKind.LEASE, times.lease_end(step.deadline))
    return Decision(verdict=Verdict.APPLIED, state=state, commands=(lease,))


def seize(state: RunState, key: str, *, attempt: int, fence: str, times: Times, overran: bool = False) -> Decision:
    """Take a step from who held it and is gone; the bearer of the new fence then fails the attempt.

    From who was applying an event nothing is taken: its timer comes due at once, and says what follows. ``overran``: it was
    ended at its time limit.
    """
    step = state.steps.get(key)
    if step is None or step.fence is None or step.attempt != attempt or state.status.final:
        return Decision(verdict=Verdict.STALE, state=state)
    if step.resume is not None:
        over = replace(step, deadline=times.moment if overran else step.deadline)
        hastened = (SetTimer(key, TimerKind.LEASE, times.moment),)
        return Decision(verdict=Verdict.STALE, state=_with_step(state, key, over), commands=hastened)
    return _taken(state, key, step, fence=fence, times=times)


def _taken(state: RunState, key: str, step: StepState, *, fence: str, times: Times) -> Decision:
    taken = replace(step, fence=fence, holder=None)
    after = replace(_with_step(state, key, taken), sequence=state.sequence + 1)
    return _decided(state, after, 1, commands=(SetTimer(key, TimerKind.LEASE, times.moment + times.lease),))


def complete(
    state: RunState,
    key: str,
    *,
    fence: str,
    event: str,
    settlement: Settlement,
    attempts: Mapping[str, int],
    times: Times,
    lanes: Mapping[str, str] = EMPTY_LANES,
    expected: int | None = None,
) -> Decision:
    """A step gives an event: settle its edges, start what can start, end the run where ``Done`` is reached.

    A run that has nothing left to do without ``Done`` fails. No sound graph comes to that; a graph that was changed
    under a run, without a new version, may.

    ``attempts`` gives the ``max_attempts`` of the steps that may be started, ``lanes`` where their messages go. ``expected`` is the number of results that
    a computed transition has seen; when there are more by now, nothing changes and the caller decides again.
    """
    step = state.steps.get(key)
    refused = _refuse(state, step, fence=fence)
    if refused is not None or step is None:
        return refused or Decision(verdict=Verdict.STALE, state=state)
    if expected is not None and expected != state.applied:
        return Decision(verdict=Verdict.CONFLICT, state=state)
    launch = key == DONE
    settled = settle(state.arrivals, settlement, met=state.steps)
    done = launch or DONE in settled.activated
    others = state.count(StepStatus.ACTIVE) + state.count(StepStatus.WAITING) - 1
    stuck = not done and not settled.activated and others == 0
    reserved = (0 if launch else 3) + (4 if done else 0) + (1 if stuck else 0)
    started = {
        target: StepState(
            status=StepStatus.ACTIVE,
            max_attempts=attempts[target],
            queued_at=times.now,
            lane=lanes.get(target),
            sent_at=times.apart,
        )
        for target in settled.activated
        if target != DONE
    }
    ended = _completed(key, step, event, order=state.sequence + 1)
    if done:
        ended[DONE] = StepState(status=StepStatus.COMPLETED, event=DONE, order=state.sequence + reserved)
    skipped = {skip: StepState(status=StepStatus.SKIPPED, attempt=0) for skip in settled.skipped}
    after = replace(
        state,
        steps={**state.steps, **started, **skipped, **ended},
        arrivals=settled.arrivals,
        sequence=state.sequence + reserved,
        advances=state.advances + (0 if launch else 1),
        applied=state.applied + 1,
    )
    commands: list[Command] = [ClearTimer(key)]
    for target, new in started.items():
        commands.extend(_queue(target, new, times))
    if done or stuck:
        final = Status.COMPLETED if done else Status.FAILED
        after = replace(after, status=final, finished_at=times.now)
        commands.append(Finish(final))
    else:
        after = _derived(after)
    return _decided(state, after, reserved, commands=tuple(commands), activated=settled.activated, done=done)


def _completed(key: str, step: StepState, event: str, *, order: int) -> dict[str, StepState]:
    attempt, most = step.attempt, step.max_attempts
    return {key: StepState(status=StepStatus.COMPLETED, attempt=attempt, max_attempts=most, event=event, order=order)}


def suspend(
    state: RunState, key: str, *, fence: str, accepts: Mapping[str, str], timeout: int | None, times: Times
) -> Decision:
    """A step waits from now on, for an event that it ``accepts`` or for ``timeout`` microseconds.

    An event that was kept for it is delivered at once; the caller applies it.
    """
    step = state.steps.get(key)
    refused = _refuse(state, step, fence=fence)
    if refused is not None or step is None:
        return refused or Decision(verdict=Verdict.STALE, state=state)
    waiting = replace(
        step,
        status=StepStatus.WAITING,
        fence=None,
        deadline=None,
        waiting_since=times.now,
        accepts=accepts,
        dispatch=step.dispatch + 1,
        sent_at=None,
        resends=0,
    )
    early = _find_early(state, key, accepts)
    event = accepts[early.name] if early is not None else "timeout" if key in state.timeouts else None
    commands: tuple[Command, ...] = (ClearTimer(key),)
    if event is not None:
        source = "timeout" if early is None else "external"
        resume = PendingResume(event=event, source=source, at=times.now)
        waiting = replace(waiting, resume=resume, sent_at=times.apart)
        commands = (*_queue(key, waiting, times),)
    elif timeout is not None:
        commands = (SetTimer(key, TimerKind.TIMEOUT, times.moment + timeout),)
    after = replace(
        _with_step(state, key, waiting),
        early=tuple(kept for kept in state.early if kept is not early),
        timeouts=state.timeouts if early is not None else state.timeouts - {key},
        sequence=state.sequence + 1,
    )
    after = _derived(after)
    return _decided(state, after, 1, commands=commands)


def fail(state: RunState, key: str, *, fence: str, times: Times) -> Decision:
    """The last attempt of a step failed: the run fails. Steps not yet started never start."""
    step = state.steps.get(key)
    refused = _refuse(state, step, fence=fence)
    if refused is not None or step is None:
        return refused or Decision(verdict=Verdict.STALE, state=state)
    failed = replace(step, status=StepStatus.FAILED, fence=None)
    after = replace(
        _with_step(state, key, failed),
        status=Status.FAILED,
        failed_step=key,
        finished_at=times.now,
        sequence=state.sequence + 2,
    )
    return _decided(state, after, 2, commands=(ClearTimer(key), Finish(Status.FAILED)))


def retry(state: RunState, key: str, *, fence: str, delay: int, times: Times) -> Decision:
    """An attempt of a step failed, and another is due after ``delay`` microseconds."""
    step = state.steps.get(key)
    refused = _refuse(state, step, fence=fence)
    if refused is not None or step is None:
        return refused or Decision(verdict=Verdict.STALE, state=state)
    again = replace(step, attempt=step.attempt + 1, dispatch=step.dispatch + 1, fence=None, resting=True)
    again = replace(again, queued_at=times.now + delay, deadline=None, holder=None, sent_at=None, resends=0)
    after = replace(_with_step(state, key, again), sequence=state.sequence + 1)
    return _decided(state, after, 1, commands=(SetTimer(key, TimerKind.BACKOFF, times.moment + delay),))


class Due(StrEnum):
    """What a step's timer meant when it came due."""

    NOTHING = "nothing"  # its activation has ended
    RETRY = "retry"  # the next attempt is sent
    TIMEOUT = "timeout"  # the waiting step is given the event ``timeout``
    REDISPATCH = "redispatch"  # nobody claimed the message: it is sent again
    REAPPLY = "reapply"  # who was applying an event is gone: its message is sent again, the first times
    LAPSED = "lapsed"  # nothing was heard of an attempt, or again of who applied its event: it is taken from its worker, and has failed
    OVERRAN = "overran"  # an attempt took longer than its time limit: the same
    SETTLE = "settle"  # what follows a step of very many edges is still to be started: who did so is gone


def due(state: RunState, key: str, *, fence: str, times: Times) -> tuple[Due, Decision]:
    """A step's entry in the due set has come due; an attempt that is lost is seized with ``fence``, to be failed.

    So is one whose event was lost with its worker, but not the first :data:`LOSSES` times: applying it again harms nothing,
    and whoever sent it was told that it was accepted. It may be what ends the worker, though, by the route behind it.
    """
    step = state.steps.get(key)
    unchanged = Decision(verdict=Verdict.STALE, state=state)
    if step is None or state.status.final or step.status not in (StepStatus.ACTIVE, StepStatus.WAITING):
        return Due.NOTHING, unchanged
    overran = step.deadline is not None and step.deadline <= times.moment
    if step.fence is not None and (step.resume is None or overran or step.resume.losses >= LOSSES):
        return (Due.OVERRAN if overran else Due.LAPSED), _taken(state, key, step, fence=fence, times=times)
    again = _again(step, times)
    if step.status is StepStatus.WAITING and step.resume is None:
        resume = PendingResume(event="timeout", source="timeout", at=times.now)
        resumed = replace(step, resume=resume, sent_at=times.apart)
        return Due.TIMEOUT, _sent(state, key, resumed, times, told=False)
    if step.fence is not None and step.resume is not None:
        resume = replace(step.resume, losses=step.resume.losses + 1)
        return Due.REAPPLY, _sent(
            state, key, replace(again, fence=None, deadline=None, resume=resume), times, told=True
        )
    if step.resting:
        return Due.RETRY, _sent(
            state, key, replace(step, resting=False, sent_at=_sent_at(step, times)), times, told=False
        )
    return Due.REDISPATCH, _sent(state, key, again, times, told=True)


def resend(state: RunState, key: str, *, attempt: int, token: int, times: Times, lane: str | None = None) -> Decision:
    """This message of a step counts as lost, and another is sent, to ``lane``; ``STALE`` when the step has moved on."""
    step = state.steps.get(key)
    if step is None or state.status.final or not step.awaits_claim or (step.attempt, step.dispatch) != (attempt, token):
        return Decision(verdict=Verdict.STALE, state=state)
    return _sent(state, key, _again(replace(step, lane=lane or step.lane), times), times, told=True)


def redirect(state: RunState, dispatch: DispatchStep, *, lane: str) -> Decision:
    """This message of a step went to ``lane``, and not to where it was thought; ``STALE`` when the step has moved on."""
    key = dispatch.step
    step = state.steps.get(key)
    waits = step is not None and step.awaits_claim and step.dispatched_as(key) == dispatch
    if step is None or state.status.final or not waits or step.lane == lane:
        return Decision(verdict=Verdict.STALE, state=state)
    goes = ClearTimer(key), EnterLane(key, lane, step.sent)
    return Decision(verdict=Verdict.APPLIED, state=_with_step(state, key, replace(step, lane=lane)), commands=goes)


def deliver(state: RunState, key: str, *, name: str, source: str, times: Times) -> Decision:
    """An event reaches a waiting step, which accepts it; a worker is to apply it."""
    step = state.steps[key]
    resume = PendingResume(event=step.accepts[name], source=source, at=times.now)
    resumed = replace(step, resume=resume, sent_at=times.apart)
    after = _with_step(state, key, resumed)
    return Decision(verdict=Verdict.APPLIED, state=after, commands=_queue(key, resumed, times))


def fire(state: RunState, key: str) -> Decision:
    """A timer set for a step beside its own has come due: a step that does not wait yet is to get it when it does."""
    step = state.steps.get(key)
    early = key not in state.timeouts and (step is None or step.status is StepStatus.ACTIVE)
    if state.status.final or not early:
        return Decision(verdict=Verdict.STALE, state=state)
    return Decision(verdict=Verdict.APPLIED, state=replace(state, timeouts=state.timeouts | {key}))


def cancel(state: RunState, *, times: Times) -> Decision:
    """End the run at once; ``STALE`` when it has ended already."""
    if state.status.final:
        return Decision(verdict=Verdict.STALE, state=state)
    after = replace(state, status=Status.CANCELLED, finished_at=times.now, sequence=state.sequence + 1)
    return _decided(state, after, 1, commands=(Finish(Status.CANCELLED),))


def _refuse(state: RunState, step: StepState | None, *, fence: str) -> Decision | None:
    if step is None or step.fence != fence:
        return Decision(verdict=Verdict.STALE, state=state)
    if not state.status.final:
        return None
    # The run ended while the step was being executed: its events get their number, nothing else changes.
    key = next(key for key, candidate in state.steps.items() if candidate is step)
    reserved = 0 if step.resume is not None else 1
    after = replace(_with_step(state, key, replace(step, fence=None)), sequence=state.sequence + reserved)
    return Decision(verdict=Verdict.DISCARDED, state=after, sequence=state.sequence + 1, reserved=reserved)


def _find_early(state: RunState, key: str, accepts: Mapping[str, str]) -> EarlyEvent | None:
    # In the order in which the step declares them; of one name those that are for this step alone come first.
    for name in accepts:
        for step in (key, None):
            for kept in state.early:
                if (kept.name, kept.step) == (name, step):
                    return kept
    return None


def _queue(key: str, step: StepState, times: Times) -> tuple[Command, ...]:
    dispatch = DispatchStep(key, step.attempt, step.dispatch)
    if step.lane is not None:
        return ClearTimer(key), EnterLane(key, step.lane, times.moment), dispatch
    return SetTimer(key, TimerKind.DISPATCH, times.moment + times.dispatch_timeout), dispatch


def _again(step: StepState, times: Times) -> StepState:
    sent_at = _sent_at(step, times)
    return replace(step, dispatch=step.dispatch + 1, resends=step.resends + 1, sent_at=sent_at)


def _sent_at(step: StepState, times: Times) -> int | None:
    return None if step.lane is None else times.moment


def _sent(state: RunState, key: str, step: StepState, times: Times, *, told: bool) -> Decision:
    # A message was lost, or who had it: that is a rescue, which is told; what was planned is not.
    reserved = 1 if told else 0
    after = replace(_with_step(state, key, step), sequence=state.sequence + reserved)
    return _decided(state, after, reserved, commands=_queue(key, step, times))


def _with_step(state: RunState, key: str, step: StepState) -> RunState:
    return replace(state, steps={**state.steps, key: step})


def _derived(state: RunState) -> RunState:
    status = derive(active=state.count(StepStatus.ACTIVE), waiting=state.count(StepStatus.WAITING))
    return replace(state, status=status)


def _decided(
    before: RunState,
    after: RunState,
    reserved: int,
    *,
    commands: tuple[Command, ...],
    activated: tuple[str, ...] = (),
    done: bool = False,
) -> Decision:
    return Decision(
        verdict=Verdict.APPLIED,
        state=after,
        commands=commands,
        sequence=before.sequence + 1,
        reserved=reserved,
        activated=activated,
        done=done,
    )
