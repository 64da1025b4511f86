"""The transitions of a run: pure functions from its state and an input to a :class:`Decision`.

Each function is one transition, applied whole or not at all by the storage; `storage/redis/lua` holds the same transitions
as scripts. What comes due is in :mod:`hephaestus_celery.core.execution.due`, what comes from outside in
:mod:`hephaestus_celery.core.execution.delivery`.

Laws held here (tested in ``tests/properties``): a result for a step that is not active in this attempt changes nothing;
applying anything twice equals applying it once; nothing changes after a final status; ``sequence`` grows by exactly the
number of events that the transition reserves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from hephaestus_celery.core.execution.commands import ClearTimer, Command, Finish, LeaveLane, SetTimer, TimerKind, send
from hephaestus_celery.core.execution.joins import Settled, Settlement, settle
from hephaestus_celery.core.execution.limits import APPLY_MARGIN
from hephaestus_celery.core.execution.state import Decision, EarlyEvent, RunState, Verdict, applied, stale
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.core.values.step_state import PendingResume, StepState

EMPTY_LANES: Mapping[str, str] = MappingProxyType({})


def create(*, initials: Mapping[str, int], times: Times, lanes: Mapping[str, str] = EMPTY_LANES) -> Decision:
    """A new run: its first steps, which come with their ``max_attempts``, are to be dispatched, to these ``lanes``."""
    steps = {key: _started(attempts, lanes.get(key), times) for key, attempts in initials.items()}
    state = RunState(status=Status.PENDING, steps=steps)
    commands = [command for key, step in steps.items() for command in send(Activation.parse(key), step, times)]
    return Decision(verdict=Verdict.APPLIED, state=state, commands=tuple(commands))


def claim(
    state: RunState,
    activation: Activation,
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

    The first claim of a run makes it ``running``. ``limit`` is the time limit of the attempt; an event has
    :data:`APPLY_MARGIN` more. ``launch``: the step is ``Done`` itself, which has no ``step.start`` of its own at this
    point. ``lane`` and ``token`` are those of the message that led to it, where they are known.
    """
    step = state.find(activation)
    if step is None or state.status.final or step.attempt != attempt or not _claimable(step):
        return stale(state)
    if step.fence is not None:
        return Decision(verdict=Verdict.TAKEN, state=state)
    resumed = step.resume is not None
    first = state.status is Status.PENDING
    deadline = None if limit is None else times.moment + limit + (APPLY_MARGIN if resumed else 0)
    taken = replace(step, fence=fence, claimed_at=times.now, deadline=deadline, holder=holder, worker=worker)
    taken = replace(taken, lane=lane or step.lane)
    after = state.with_step(activation, taken)
    if first:
        after = replace(after, status=Status.RUNNING, advances=1)
    lease = SetTimer(activation, TimerKind.LEASE, times.lease_end(deadline))
    left = () if taken.lane is None else (LeaveLane(activation, step.lane, taken.lane, _sent_as(step, token, times)),)
    reserved = (2 if first else 0) + (0 if resumed or launch else 1)
    return applied(state, after, reserved=reserved, commands=(lease, *left))


def _claimable(step: StepState) -> bool:
    waits_for_worker = step.status is StepStatus.WAITING and step.resume is not None
    return not step.backing_off and (step.status is StepStatus.ACTIVE or waits_for_worker)


def _sent_as(step: StepState, token: int | None, times: Times) -> int:
    # When the message with this token was sent. An older copy says nothing of what was sent since.
    return step.sent if token in (None, step.dispatch) else replace(step, sent_at=None).sent - times.now + times.moment


def renew(state: RunState, activation: Activation, *, fence: str, times: Times) -> Decision:
    """The worker that holds a step renews its lease; ``STALE`` when it is not held any more."""
    step = state.find(activation)
    if step is None or step.fence != fence or state.status.final:
        return stale(state)
    lease = SetTimer(activation, TimerKind.LEASE, times.lease_end(step.deadline))
    return Decision(verdict=Verdict.APPLIED, state=state, commands=(lease,))


def seize(
    state: RunState, activation: Activation, *, attempt: int, fence: str, times: Times, timed_out: bool = False
) -> Decision:
    """Take a step from who held it and is gone; the bearer of the new fence then fails the attempt.

    From who was applying an event nothing is taken: its timer comes due at once, and says what follows. ``timed_out``: it was
    ended at its time limit.
    """
    step = state.find(activation)
    if step is None or step.fence is None or step.attempt != attempt or state.status.final:
        return stale(state)
    if step.resume is not None:
        over = replace(step, deadline=times.moment if timed_out else step.deadline)
        hastened = (SetTimer(activation, TimerKind.LEASE, times.moment),)
        return Decision(verdict=Verdict.STALE, state=state.with_step(activation, over), commands=hastened)
    return take_over(state, activation, step, fence=fence, times=times)


def take_over(state: RunState, activation: Activation, step: StepState, *, fence: str, times: Times) -> Decision:
    """A step is taken from its worker: it is held with a new fence, to be failed before another lease expires."""
    after = state.with_step(activation, replace(step, fence=fence, holder=None))
    return applied(
        state, after, reserved=1, commands=(SetTimer(activation, TimerKind.LEASE, times.moment + times.lease),)
    )


def complete(
    state: RunState,
    activation: Activation,
    *,
    fence: str,
    event: str,
    settlement: Settlement,
    attempts: Mapping[str, int],
    times: Times,
    lanes: Mapping[str, str] = EMPTY_LANES,
    expected: int | None = None,
    computed: bool = False,
) -> Decision:
    """A step gives an event: settle its edges, start what can start, end the run where ``Done`` is reached.

    A run that has nothing left to do without ``Done`` fails. No sound graph comes to that; a graph that was changed
    under a run, without a new version, may.

    ``attempts`` gives the ``max_attempts`` of the steps that may be started, ``lanes`` where their messages go.
    ``expected`` is the number of results that a computed transition has seen; when there are more by now, nothing changes
    and the caller decides again. ``computed``: a route has computed the targets, which are kept: they follow from nothing else.
    """
    step = state.find(activation)
    refused = _refuse(state, activation, step, fence=fence)
    if refused is not None or step is None:
        return refused or stale(state)
    if expected is not None and expected != state.applied:
        return Decision(verdict=Verdict.CONFLICT, state=state)
    launch = activation.step == DONE
    settled = settle(state.arrivals, settlement, met=state.steps)
    done = launch or DONE in settled.activated
    others = state.count(StepStatus.ACTIVE) + state.count(StepStatus.WAITING) - 1
    stuck = not done and not settled.activated and others == 0
    reserved = (0 if launch else 3) + (4 if done else 0) + (1 if stuck else 0)
    started = {new: _started(attempts[new], lanes.get(new), times) for new in settled.activated if new != DONE}
    ended = {
        str(activation): _completed(
            step, event, order=state.sequence + 1, targets=settlement.taken if computed else None
        )
    }
    if done:
        ended[DONE] = StepState(status=StepStatus.COMPLETED, event=DONE, order=state.sequence + reserved)
    after = _settled(state, settled, {**started, **ended}, advances=0 if launch else 1)
    commands: list[Command] = [ClearTimer(activation)]
    for target, new in started.items():
        commands.extend(send(Activation.parse(target), new, times))
    if done or stuck:
        final = Status.COMPLETED if done else Status.FAILED
        after = replace(after, status=final, finished_at=times.now)
        commands.append(Finish(final))
    return applied(state, after, reserved=reserved, commands=tuple(commands), activated=settled.activated, done=done)


def _started(max_attempts: int, lane: str | None, times: Times) -> StepState:
    return StepState(
        status=StepStatus.ACTIVE, max_attempts=max_attempts, queued_at=times.now, lane=lane, sent_at=times.apart
    )


def _completed(step: StepState, event: str, *, order: int, targets: tuple[str, ...] | None) -> StepState:
    return StepState(
        status=StepStatus.COMPLETED,
        attempt=step.attempt,
        max_attempts=step.max_attempts,
        event=event,
        order=order,
        targets=targets,
        origin=step.origin,
    )


def _settled(state: RunState, settled: Settled, changed: Mapping[str, StepState], *, advances: int) -> RunState:
    skipped = {skip: StepState(status=StepStatus.SKIPPED, attempt=0) for skip in settled.skipped}
    return replace(
        state,
        steps={**state.steps, **skipped, **changed},
        arrivals=settled.arrivals,
        advances=state.advances + advances,
        applied=state.applied + 1,
    ).derived()


def suspend(
    state: RunState,
    activation: Activation,
    *,
    fence: str,
    accepts: Mapping[str, str],
    timeout: int | None,
    times: Times,
) -> Decision:
    """A step waits from now on, for an event that it ``accepts`` or for ``timeout`` microseconds.

    An event that was kept for it is delivered at once; the caller applies it.
    """
    step = state.find(activation)
    refused = _refuse(state, activation, step, fence=fence)
    if refused is not None or step is None:
        return refused or stale(state)
    waiting = _waiting(step, accepts, times)
    early = _find_early(state, activation, accepts)
    event = accepts[early.name] if early is not None else "timeout" if str(activation) in state.timeouts else None
    commands: tuple[Command, ...] = (ClearTimer(activation),)
    if event is not None:
        source = "timeout" if early is None else "external"
        resume = PendingResume(event=event, source=source, at=times.now)
        waiting = replace(waiting, resume=resume, sent_at=times.apart)
        commands = send(activation, waiting, times)
    elif timeout is not None:
        commands = (SetTimer(activation, TimerKind.TIMEOUT, times.moment + timeout),)
    after = replace(
        state.with_step(activation, waiting),
        early=tuple(kept for kept in state.early if kept is not early),
        timeouts=state.timeouts if early is not None else state.timeouts - {str(activation)},
    )
    return applied(state, after.derived(), reserved=1, commands=commands)


def _waiting(step: StepState, accepts: Mapping[str, str], times: Times) -> StepState:
    return replace(
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


def fail(state: RunState, activation: Activation, *, fence: str, times: Times) -> Decision:
    """The last attempt of a step failed: the run fails. Steps not yet started never start."""
    step = state.find(activation)
    refused = _refuse(state, activation, step, fence=fence)
    if refused is not None or step is None:
        return refused or stale(state)
    after = state.with_step(activation, replace(step, status=StepStatus.FAILED, fence=None))
    after = replace(after, status=Status.FAILED, failed_step=activation.step, finished_at=times.now)
    return applied(state, after, reserved=2, commands=(ClearTimer(activation), Finish(Status.FAILED)))


def retry(state: RunState, activation: Activation, *, fence: str, delay: int, times: Times) -> Decision:
    """An attempt of a step failed, and another is due after ``delay`` microseconds."""
    step = state.find(activation)
    refused = _refuse(state, activation, step, fence=fence)
    if refused is not None or step is None:
        return refused or stale(state)
    again = replace(step, attempt=step.attempt + 1, dispatch=step.dispatch + 1, fence=None, backing_off=True)
    again = replace(again, queued_at=times.now + delay, deadline=None, holder=None, sent_at=None, resends=0)
    backoff = SetTimer(activation, TimerKind.BACKOFF, times.moment + delay)
    return applied(state, state.with_step(activation, again), reserved=1, commands=(backoff,))


def deliver(state: RunState, activation: Activation, *, name: str, source: str, times: Times) -> Decision:
    """An event reaches a waiting step, which accepts it; a worker is to apply it."""
    step = state.steps[str(activation)]
    resume = PendingResume(event=step.accepts[name], source=source, at=times.now)
    resumed = replace(step, resume=resume, sent_at=times.apart)
    after = state.with_step(activation, resumed)
    return Decision(verdict=Verdict.APPLIED, state=after, commands=send(activation, resumed, times))


def cancel(state: RunState, *, times: Times) -> Decision:
    """End the run at once; ``STALE`` when it has ended already."""
    if state.status.final:
        return stale(state)
    after = replace(state, status=Status.CANCELLED, finished_at=times.now)
    return applied(state, after, reserved=1, commands=(Finish(Status.CANCELLED),))


def _refuse(state: RunState, activation: Activation, step: StepState | None, *, fence: str) -> Decision | None:
    if step is None or step.fence != fence:
        return stale(state)
    if not state.status.final:
        return None
    # The run ended while the step was being executed: its events get their number, nothing else changes.
    reserved = 0 if step.resume is not None else 1
    after = replace(state.with_step(activation, replace(step, fence=None)), sequence=state.sequence + reserved)
    return Decision(verdict=Verdict.DISCARDED, state=after, sequence=state.sequence + 1, reserved=reserved)


def _find_early(state: RunState, activation: Activation, accepts: Mapping[str, str]) -> EarlyEvent | None:
    # In the order in which the step declares them; of one name those that are for this step alone come first.
    for name in accepts:
        for step in (str(activation), None):
            for kept in state.early:
                if (kept.name, kept.step) == (name, step):
                    return kept
    return None
