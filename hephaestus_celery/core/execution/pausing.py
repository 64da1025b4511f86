"""The rules of a pause: a paused run goes on in the store, and no worker gets a step of it.

While a run is paused, by itself or with its workflow, the other rules decide as ever: what executes is committed, timers come
due, events are accepted. Only the messages that they would send are not sent: :func:`hold` takes them out of a decision, and
marks their steps. When the last pause is gone, :func:`release` lets these steps come due, in the order in which they were
accepted; then their messages go out. A message that was sent before the pause is dropped when a worker brings it
(:func:`drop`). If nobody brings it for long, it is set aside (:func:`set_aside`), so that nothing looks for it.

One rule is different, so that a pause costs steps nothing where nobody uses it: the completion of a step asks for the pause of
the run alone (:func:`hold_completion`). What it starts in a run of a paused workflow gets its message, and that is dropped.

Mirrored by ``storage/redis/lua/parts/pause.lua``.

Laws held here: no decision about a run that is paused itself sends a message; no step of a paused run is claimed; a step that
was held gets one message for each one that was dropped or not sent, and no other; pausing what is paused and unpausing what is
not changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from hephaestus_celery.core.execution.commands import (
    ClearTimer,
    Command,
    DispatchStep,
    EnterLane,
    Park,
    SetTimer,
    TimerKind,
)
from hephaestus_celery.core.execution.state import Decision, RunState, Verdict, applied, stale
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.core.values.step_state import Held, StepState


def pause(state: RunState, *, by: str | None, times: Times) -> Decision:
    """Pause a run; ``STALE`` if it is paused already, or has ended."""
    if state.status.final or state.pause is not None:
        return stale(state)
    return applied(state, replace(state, pause=PauseMark(at=times.now, by=by)), reserved=1)


def unpause(state: RunState) -> Decision:
    """Take the run's own pause away; ``STALE`` if there is none. The caller releases it unless its workflow is paused."""
    if state.status.final or state.pause is None:
        return stale(state)
    return applied(state, replace(state, pause=None), reserved=1)


def hold(decision: Decision) -> Decision:
    """What a decision comes to in a paused run: the steps that it would send messages for are held."""
    sent = {dispatch.activation for dispatch in decision.dispatches}
    if not sent:
        return decision
    state = decision.state
    for activation in sent:
        step = state.steps[str(activation)]
        if step.awaits_claim:  # the run has not dropped it in the same moment
            state = state.with_step(activation, replace(step, held=Held.UNSENT))
    kept = [command for command in decision.commands if not _sends(command, sent)]
    parked = [Park(dispatch.activation, _lane(state, dispatch.activation)) for dispatch in decision.dispatches]
    return replace(decision, state=state, commands=(*kept, *parked))


def hold_completion(decision: Decision) -> Decision:
    """What the completion of a step comes to: the steps that it starts are held if the run itself is paused."""
    return decision if decision.state.pause is None else hold(decision)


def drop(state: RunState, activation: Activation, *, attempt: int, token: int | None) -> Decision:
    """A worker brings a message of a paused run, and drops it. ``STALE`` if no step awaits it.

    The step is then sent another message when the run goes on, unless a later one than this is still under way.
    """
    step = state.find(activation)
    if step is None or state.status.final or step.attempt != attempt or not step.awaits_claim:
        return stale(state)
    if step.held is Held.UNSENT or (token is not None and token != step.dispatch):
        return Decision(verdict=Verdict.APPLIED, state=state)
    return _dropped(state, activation, step)


def drop_due(state: RunState, activation: Activation) -> Decision | None:
    """A step of a paused run has come due: its message is taken as lost, if it awaits one; None if it does not."""
    step = state.find(activation)
    if step is None or state.status.final or not step.awaits_claim:
        return None
    if step.held is Held.UNSENT:
        return Decision(verdict=Verdict.APPLIED, state=state, commands=(Park(activation, step.lane),))
    return _dropped(state, activation, step)


def set_aside(state: RunState, activation: Activation) -> Decision:
    """A message of a paused run waits in its lane for long: nothing looks for it until the run goes on."""
    step = state.steps[str(activation)]
    held = replace(step, held=step.held or Held.QUEUED)
    return Decision(
        verdict=Verdict.APPLIED,
        state=state.with_step(activation, held),
        commands=(Park(activation, step.lane),),
    )


def release(state: RunState, times: Times) -> Decision:
    """The run goes on: what was held comes due in the order in which it was accepted; other messages are awaited again."""
    commands: list[Command] = []
    for key, step in sorted(state.steps.items(), key=lambda item: (item[1].accepted, item[0])):
        activation = Activation.parse(key)
        if step.held is Held.UNSENT:
            at = step.accepted - times.now + times.moment
            commands.append(SetTimer(activation, TimerKind.DISPATCH, at))
        elif step.held is Held.QUEUED:
            state = state.with_step(activation, replace(step, held=None))
            commands.append(EnterLane(activation, step.lane or "", step.sent))
    return Decision(verdict=Verdict.APPLIED, state=state, commands=tuple(commands))


def _dropped(state: RunState, activation: Activation, step: StepState) -> Decision:
    held = replace(step, held=Held.UNSENT, dispatch=step.dispatch + 1)
    return Decision(
        verdict=Verdict.APPLIED,
        state=state.with_step(activation, held),
        commands=(Park(activation, step.lane),),
    )


def _lane(state: RunState, activation: Activation) -> str | None:
    return state.steps[str(activation)].lane


def _sends(command: Command, sent: set[Activation]) -> bool:
    match command:
        case DispatchStep() | EnterLane() | ClearTimer() | SetTimer(kind=TimerKind.DISPATCH):
            return command.activation in sent
        case _:
            return False
