"""The rule when a due entry fires: retry, timeout or rescue, and when a worker counts as lost.

A step has one entry in the due set; the state of the step says what the entry means. A rescue repairs a loss: it takes an
event number and a line in the history. A planned retry, round or timeout takes neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from hephaestus_celery.core.execution.commands import ClearTimer, DispatchStep, EnterLane, last_message, send
from hephaestus_celery.core.execution.limits import LOSSES
from hephaestus_celery.core.execution.rounds import begun
from hephaestus_celery.core.execution.state import Decision, RunState, Verdict, applied, stale
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.transitions import take_over
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import PendingResume, StepState


class Due(StrEnum):
    """What a step's timer meant when it came due."""

    NOTHING = "nothing"  # its activation has ended
    RETRY = "retry"  # the next attempt or round is sent, or what a pause has held
    TIMEOUT = "timeout"  # the waiting step is given the event ``timeout``
    REDISPATCH = "redispatch"  # nobody claimed the message: it is sent again
    REAPPLY = "reapply"  # the worker that applied an event is lost: its message is sent again, the first times
    LEASE_EXPIRED = "lease_expired"  # the worker is lost, or again while applying an event: the attempt fails
    TIMED_OUT = "timed_out"  # an attempt took longer than its time limit: it fails
    COPY = "copy"  # a rerun is still to be copied from its earlier run: the process that copied it is lost
    DEADLINE = "deadline"  # the run has not ended in time, and has failed
    UNDO = "undo"  # a large run that undoes is still to be gone through for what is to be dropped
    SETTLE = "settle"  # edges of a wide step are still to be settled: the process that settled them is lost


RESCUE_REASONS: Mapping[Due, str] = {
    Due.LEASE_EXPIRED: "lease expired",
    Due.TIMED_OUT: "time limit exceeded",
    Due.REDISPATCH: "message not claimed",
    Due.REAPPLY: "worker that applied its event was lost",
}
"""What the history and ``step.rescue`` say of each kind of rescue; see :func:`rescue_reason`."""


def rescue_reason(kind: Due, step: StepState) -> str:
    """The reason of a rescue of a step in this state: a lease may also expire while a worker applies an event."""
    return RESCUE_REASONS[Due.REAPPLY if kind is Due.LEASE_EXPIRED and step.resume is not None else kind]


def due(state: RunState, activation: Activation, *, fence: str, times: Times) -> tuple[Due, Decision]:
    """A step's entry in the due set has come due; a lost attempt is seized with ``fence``, so that the caller can fail it.

    If the worker was lost while it applied an event, the first :data:`LOSSES` times the event is applied again. That does no
    harm, and the sender knows the event as accepted. A route after the event may end each worker that applies it. So after
    these times the attempt is seized too.
    """
    step = state.find(activation)
    if step is None or state.status.final or step.status not in (StepStatus.ACTIVE, StepStatus.WAITING):
        return Due.NOTHING, stale(state)
    timed_out = step.deadline is not None and step.deadline <= times.moment
    late = state.undoing is not None and step.compensates is None  # nothing of it is applied again
    if step.fence is not None and (step.resume is None or timed_out or late or step.resume.losses >= LOSSES):
        return (Due.TIMED_OUT if timed_out else Due.LEASE_EXPIRED), take_over(
            state, activation, step, fence=fence, times=times
        )
    if step.fence is not None and step.resume is not None:
        resume = replace(step.resume, losses=step.resume.losses + 1)
        released = replace(_again(step, times), fence=None, deadline=None, resume=resume)
        return Due.REAPPLY, _sent(state, activation, released, times, rescue=True)
    if step.waits and not step.between_rounds:
        return Due.TIMEOUT, _timed_out(state, activation, step, times)
    if step.backing_off or step.held is not None:
        sent_at = _sent_at(step, times)
        following = begun(step) if step.between_rounds else step
        following = replace(following, backing_off=False, held=None, resends=0, sent_at=sent_at)
        return Due.RETRY, _sent(state, activation, following, times, rescue=False)
    return Due.REDISPATCH, _sent(state, activation, _again(step, times), times, rescue=True)


def resend(
    state: RunState, activation: Activation, *, attempt: int, token: int, times: Times, lane: str | None = None
) -> Decision:
    """This message of a step counts as lost; send another one, to ``lane``. ``STALE`` if the step has moved on."""
    step = state.find(activation)
    if step is None or state.status.final or not step.awaits_claim or (step.attempt, step.dispatch) != (attempt, token):
        return stale(state)
    if step.held is not None:
        return stale(state)
    return _sent(state, activation, _again(replace(step, lane=lane or step.lane), times), times, rescue=True)


def redirect(state: RunState, dispatch: DispatchStep, *, lane: str) -> Decision:
    """This message of a step went to ``lane``, not to the lane that was expected. ``STALE`` if the step has moved on."""
    activation = dispatch.activation
    step = state.find(activation)
    if step is None or state.status.final or not step.awaits_claim or step.lane == lane:
        return stale(state)
    if last_message(activation, step) != dispatch:
        return stale(state)
    moves = (ClearTimer(activation), EnterLane(activation, lane, step.sent)) if step.held is None else ()
    return Decision(
        verdict=Verdict.APPLIED, state=state.with_step(activation, replace(step, lane=lane)), commands=moves
    )


def fire(state: RunState, activation: Activation, *, times: Times) -> tuple[Due, Decision]:
    """A timer beside the step's own has come due: a waiting step receives the event ``timeout``.

    A step that does not wait yet receives it when it does; so does one whose event may be dropped, when it waits on. A step
    that has ended, or has received an event for good, ignores it.
    """
    step = state.find(activation)
    if state.status.final:
        return Due.NOTHING, stale(state)
    if step is not None and step.waits and not step.between_rounds:
        return Due.TIMEOUT, _timed_out(state, activation, step, times)
    if step is not None and not step.may_wait_on and not step.between_rounds:
        return Due.NOTHING, stale(state)
    early = replace(state, timeouts=state.timeouts | {str(activation)})
    return Due.NOTHING, Decision(verdict=Verdict.APPLIED, state=early)


def _timed_out(state: RunState, activation: Activation, step: StepState, times: Times) -> Decision:
    resume = PendingResume(event="timeout", source="timeout", at=times.now)
    resumed = replace(step, resume=resume, sent_at=times.apart)
    return _sent(state, activation, resumed, times, rescue=False)


def _again(step: StepState, times: Times) -> StepState:
    sent_at = _sent_at(step, times)
    return replace(step, dispatch=step.dispatch + 1, resends=step.resends + 1, sent_at=sent_at)


def _sent_at(step: StepState, times: Times) -> int | None:
    return None if step.lane is None else times.moment


def _sent(state: RunState, activation: Activation, step: StepState, times: Times, *, rescue: bool) -> Decision:
    after = state.with_step(activation, step)
    if step.status is not state.steps[str(activation)].status:
        after = after.derived()
    return applied(state, after, reserved=1 if rescue else 0, commands=send(activation, step, times))
