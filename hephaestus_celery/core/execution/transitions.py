"""The transitions of a run: pure functions from its state and an input to a :class:`Decision`.

Each function is one transition, applied whole or not at all by the storage; `storage/redis/lua` holds the same transitions
as scripts. Steps that wait are in :mod:`hephaestus_celery.core.execution.waiting`, further rounds of an ``Again`` in
:mod:`hephaestus_celery.core.execution.rounds`, timers and leases in :mod:`hephaestus_celery.core.execution.due`, events from
outside in :mod:`hephaestus_celery.core.execution.delivery`.

Laws held here (tested in ``tests/properties``): a result for a step that is not active in this attempt changes nothing;
applying anything twice equals applying it once; nothing changes after a final status; ``sequence`` grows by exactly the
number of events that the transition reserves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hephaestus_celery.core.execution.commands import ClearTimer, Command, Finish, LeaveLane, SetTimer, TimerKind, send
from hephaestus_celery.core.execution.joins import Settled, Settlement, settle
from hephaestus_celery.core.execution.limits import APPLY_MARGIN
from hephaestus_celery.core.execution.state import AtDone, Decision, RunState, Verdict, applied, stale
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.undoing import advanced, end_late, failed, stop
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.names import DONE, FAILED
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.undo import Undo

EMPTY_LANES: Mapping[str, str] = MappingProxyType({})


def create(
    *,
    initials: Mapping[str, int],
    times: Times,
    lanes: Mapping[str, str] = EMPTY_LANES,
    compensates: bool = False,
) -> Decision:
    """Create a run: dispatch its first steps to these ``lanes``; ``initials`` holds the ``max_attempts`` of each.

    ``compensates``: its workflow has compensations.
    """
    steps = {key: _started(attempts, lanes.get(key), times) for key, attempts in initials.items()}
    state = RunState(status=Status.PENDING, steps=steps, undo=() if compensates else None)
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
    round: int = 1,
) -> Decision:
    """A worker takes an attempt of a step, or an event that was delivered to a waiting step.

    The first claim of a run makes it ``running``. ``limit`` is the time limit of the attempt; applying an event may take
    :data:`APPLY_MARGIN` longer. ``launch``: the step is ``Done``, which has no ``step.start`` of its own at this point.
    ``lane``, ``token`` and ``round`` are those of the message that led to the claim, if they are known.
    """
    step = state.find(activation)
    if step is None or state.status.final or (step.round, step.attempt) != (round, attempt):
        return stale(state)
    if not _claimable(step):
        return stale(state)
    if step.fence is not None:
        return Decision(verdict=Verdict.TAKEN, state=state)
    resumed = step.resume is not None
    first = state.status is Status.PENDING
    deadline = None if limit is None else times.moment + limit + (APPLY_MARGIN if resumed else 0)
    taken = replace(step, fence=fence, claimed_at=times.now, deadline=deadline, holder=holder, worker=worker)
    taken = replace(taken, lane=lane or step.lane, held=None)
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
    # When the message with this token was sent. A claim for an older copy says nothing about later messages.
    return step.sent if token in (None, step.dispatch) else replace(step, sent_at=None).sent - times.now + times.moment


def renew(state: RunState, activation: Activation, *, fence: str, times: Times) -> Decision:
    """The worker that holds a step renews its lease; ``STALE`` if the step is no longer held with this fence."""
    step = state.find(activation)
    if step is None or step.fence != fence or state.status.final:
        return stale(state)
    lease = SetTimer(activation, TimerKind.LEASE, times.lease_end(step.deadline))
    return Decision(verdict=Verdict.APPLIED, state=state, commands=(lease,))


def seize(
    state: RunState, activation: Activation, *, attempt: int, fence: str, times: Times, timed_out: bool = False
) -> Decision:
    """Take a step from a lost worker; the bearer of the new fence then fails the attempt.

    If the worker was applying an event, nothing is taken: the step's timer comes due at once, and its rule decides.
    ``timed_out``: the worker was ended at the time limit.
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
    """Take a step from its worker: a new fence holds it, and its bearer fails the attempt before the new lease expires."""
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
    undo: Undo | None = None,
    at_done: AtDone = AtDone.COMPLETES,
) -> Decision:
    """A step completes with an event: settle its edges, start the steps that can start, end the run if ``Done`` is reached.

    A run fails if it has nothing left to do and has not reached ``Done``, or can't reach it any more. Without counted joins, a
    sound graph never leads to that, but a graph that was changed under a run without a new version may. Steps that still run
    when ``Done`` is reached are before counted joins that have started or were skipped; their results are discarded.

    ``attempts`` gives the ``max_attempts`` of the steps that may start, and ``lanes`` the lanes of their messages.
    ``expected`` is the number of results that a computed transition has seen; if there are more by now, nothing changes
    and the caller decides again. ``computed``: a route has computed the targets. They are kept, since nothing else says them.
    ``undo`` says how the step is undone, if it has a compensation.
    ``at_done`` is what becomes of the run if ``Done`` is reached.
    """
    step = state.find(activation)
    refused = refusal_of(state, activation, step, fence=fence)
    if refused is not None or step is None:
        return refused or stale(state)
    undo = None if event == FAILED or state.undo is None else undo
    if state.undoing is not None:
        return _complete_in_undoing(state, activation, step, event, undo=undo, times=times)
    if expected is not None and expected != state.applied:
        return Decision(verdict=Verdict.CONFLICT, state=state)
    launch = activation.step == DONE
    settled = settle(state.arrivals, settlement, met=state.steps)
    done = launch or (DONE in settled.activated and at_done is not AtDone.STARTS)
    if done and at_done is AtDone.ASKS:
        return Decision(verdict=Verdict.WANTED, state=state)
    others = state.count(StepStatus.ACTIVE) + state.count(StepStatus.WAITING) - 1
    stuck = not done and (DONE in settled.skipped or (not settled.activated and others == 0))
    fails = done and at_done is AtDone.FAILS
    reserved = _events_of(launch=launch, done=done, fails=fails, stuck=stuck)
    starting = [new for new in settled.activated if new != DONE or not done]
    started = {new: _started(attempts[new], lanes.get(new), times) for new in starting}
    ended = {
        str(activation): _completed(
            step, event, order=state.sequence + 1, targets=settlement.taken if computed else None
        )
    }
    if done:
        ended[DONE] = _done(state.sequence + reserved, fails=fails)
    after = _settled(state, settled, {**started, **ended}, advances=0 if launch else 1)
    if undo is not None:
        after = replace(after, undo=(*(after.undo or ()), undo))
    sends = [command for target, new in started.items() for command in send(Activation.parse(target), new, times)]
    after, commands = _ended(after, sends, done=done, fails=fails, stuck=stuck, times=times)
    commands = (ClearTimer(activation), *commands)
    return applied(state, after, reserved=reserved, commands=commands, activated=settled.activated, done=done)


def _ended(
    state: RunState, sends: Sequence[Command], *, done: bool, fails: bool, stuck: bool, times: Times
) -> tuple[RunState, tuple[Command, ...]]:
    # What becomes of the run, and what is to be done. Where it undoes from now on, what has just started is dropped.
    if done and not fails:
        completed = replace(state, status=Status.COMPLETED, finished_at=times.now)
        return completed, (*sends, Finish(Status.COMPLETED))
    if stuck or fails:
        failing = replace(state, failed_step=DONE if fails else state.failed_step)
        stopped, commands = stop(failing, Status.FAILED, times)
        return stopped, commands if stopped.compensating else (*sends, *commands)
    return state, tuple(sends)


def _complete_in_undoing(
    state: RunState, activation: Activation, step: StepState, event: str, *, undo: Undo | None, times: Times
) -> Decision:
    # A compensation has completed, or a step that was executed when the run began to undo has ended.
    if step.compensates is None and event == FAILED:
        return end_late(state, activation, failed(step), times, undo=None)
    ended = _completed(step, event, order=state.sequence + 1, targets=None)
    counted = replace(state, applied=state.applied + 1)
    if step.compensates is None:
        return end_late(counted, activation, ended, times, undo=undo)
    after = replace(counted.with_step(activation, ended), advances=state.advances + 1)
    return advanced(state, after, times, reserved=3, commands=(ClearTimer(activation),))


def _events_of(*, launch: bool, done: bool, fails: bool, stuck: bool) -> int:
    # How many events tell of a completion: of the step, of Done, of the end.
    return (0 if launch else 3) + ((3 if fails else 4) if done else 0) + (1 if stuck else 0)


def _done(order: int, *, fails: bool) -> StepState:
    return (
        StepState(status=StepStatus.FAILED)
        if fails
        else StepState(status=StepStatus.COMPLETED, event=DONE, order=order)
    )


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
        round=step.round,
        compensates=step.compensates,
    )


def _settled(state: RunState, settled: Settled, changed: Mapping[str, StepState], *, advances: int) -> RunState:
    skipped = {skip: StepState(status=StepStatus.SKIPPED, attempt=0) for skip in settled.skipped}
    return replace(
        state,
        steps={**state.steps, **skipped, **changed},
        arrivals=settled.arrivals,
        advances=state.advances + advances,
        applied=state.applied + 1,
        shortfall=settled.shortfall or state.shortfall,
    ).derived()


def fail(state: RunState, activation: Activation, *, fence: str, times: Times) -> Decision:
    """The last attempt of a step failed: the run fails, or undoes what has completed. Steps not yet started never start.

    A compensation that has failed is noted, and the others go on.
    """
    step = state.find(activation)
    refused = refusal_of(state, activation, step, fence=fence)
    if refused is not None or step is None:
        return refused or stale(state)
    if state.undoing is not None and step.compensates is None:
        return end_late(state, activation, failed(step), times, undo=None)
    after, cleared = state.with_step(activation, failed(step)), (ClearTimer(activation),)
    if state.undoing is not None:
        return advanced(state, after, times, reserved=1, commands=cleared)
    after, commands = stop(replace(after, failed_step=activation.step), Status.FAILED, times)
    return applied(state, after, reserved=2, commands=(*cleared, *commands))


def retry(state: RunState, activation: Activation, *, fence: str, delay: int, times: Times) -> Decision:
    """An attempt of a step failed, and another is due after ``delay`` microseconds."""
    step = state.find(activation)
    refused = refusal_of(state, activation, step, fence=fence)
    if refused is not None or step is None:
        return refused or stale(state)
    if state.undoing is not None and step.compensates is None:
        return end_late(state, activation, failed(step), times, undo=None)
    again = replace(step, attempt=step.attempt + 1, dispatch=step.dispatch + 1, fence=None, backing_off=True)
    again = replace(again, queued_at=times.now + delay, deadline=None, holder=None, sent_at=None, resends=0)
    backoff = SetTimer(activation, TimerKind.BACKOFF, times.moment + delay)
    return applied(state, state.with_step(activation, again), reserved=1, commands=(backoff,))


def cancel(state: RunState, *, times: Times, compensate: bool = False) -> Decision:
    """End the run at once, or with ``compensate`` when what has completed is undone.

    ``STALE`` if it has ended already; with ``compensate`` also if it undoes already.
    """
    if state.status.final or (compensate and state.undoing is not None):
        return stale(state)
    if compensate:
        after, commands = stop(state, Status.CANCELLED, times)
        return applied(state, after, reserved=1, commands=commands)
    after = replace(state, status=Status.CANCELLED, finished_at=times.now)
    return applied(state, after, reserved=1, commands=(Finish(Status.CANCELLED),))


def refusal_of(state: RunState, activation: Activation, step: StepState | None, *, fence: str) -> Decision | None:
    """What becomes of a commit that is late or foreign, or whose run has ended; None for one that is applied."""
    if step is None or step.fence != fence:
        return stale(state)
    if not state.status.final:
        return None
    # The run ended while the step was executed: its event gets a number, and nothing else changes.
    reserved = 0 if step.resume is not None else 1
    after = replace(state.with_step(activation, replace(step, fence=None)), sequence=state.sequence + reserved)
    return Decision(verdict=Verdict.DISCARDED, state=after, sequence=state.sequence + 1, reserved=reserved)
