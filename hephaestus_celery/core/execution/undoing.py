"""The rules of undoing: a run that does not complete undoes the steps that have completed, the last one first.

A run whose workflow has compensations does not end at once when it fails, or is cancelled with ``compensate``. From then on no step
starts: those that nobody has begun, that back off or that wait are dropped. What is being executed goes on to its end (it is
*late*): its result is kept, and nothing follows it. When nothing is executed any more, the compensations run one after the
other, each a step of its own. After the last one the run ends.

Mirrored by ``storage/redis/lua/parts/undoing.lua``.

Laws held here (tested in ``tests/properties``): each completed step that has a compensation is undone once, in the reverse order
of completion; a run that undoes starts no other step; it ends when the last compensation has ended, and not before.
"""

from __future__ import annotations

from dataclasses import replace

from hephaestus_celery.core.execution.commands import ClearTimer, Command, Finish, Park, send
from hephaestus_celery.core.execution.state import Decision, RunState, Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.undo import Undo, Undoing

Change = tuple[RunState, tuple[Command, ...]]


def stop(state: RunState, ending: Status, times: Times) -> Change:
    """A run is not to complete: it ends at once, or undoes what has completed and ends then."""
    if state.undo is None or state.undoing is not None:
        return _end(state, ending, times)
    steps: dict[str, StepState] = {}
    commands: list[Command] = []
    for key, step in state.steps.items():
        if step.fence is None and step.status in (StepStatus.ACTIVE, StepStatus.WAITING):
            steps[key] = dropped(step)
            commands.append(Park(Activation.parse(key), step.lane))
    stopped = replace(
        state, steps={**state.steps, **steps}, undoing=Undoing(ending=ending, left=len(state.undo))
    ).derived()
    after, more = go_on(stopped, times)
    return after, (*commands, *more)


def go_on(state: RunState, times: Times) -> Change:
    """The next compensation starts if nothing is executed any more; after the last one the run ends."""
    undo, undoing = state.undo or (), state.undoing
    if undoing is None or any(step.fence is not None or step.is_compensating for step in state.steps.values()):
        return state, ()
    if undoing.left == 0:
        return _end(state, undoing.ending, times)
    entry = undo[undoing.left - 1]
    step = StepState(
        status=StepStatus.ACTIVE,
        max_attempts=entry.max_attempts,
        queued_at=times.now,
        lane=entry.lane,
        sent_at=times.apart,
        compensates=entry.step,
    )
    activation = Activation(entry.compensation)
    after = replace(state.with_step(activation, step), undoing=replace(undoing, left=undoing.left - 1))
    return after, send(activation, step, times)


def end_late(state: RunState, activation: Activation, ended: StepState, times: Times, *, undo: Undo | None) -> Decision:
    """A step that was being executed when its run began to undo has ended, in this state; ``undo`` says how it is undone."""
    after = state.with_step(activation, ended)
    undoing = after.undoing
    if undo is not None and undoing is not None:
        after = replace(after, undo=(*(after.undo or ()), undo), undoing=replace(undoing, left=undoing.left + 1))
    return advanced(state, after, times, reserved=1, commands=(ClearTimer(activation),), verdict=Verdict.LATE)


def advanced(
    before: RunState,
    after: RunState,
    times: Times,
    *,
    reserved: int,
    commands: tuple[Command, ...],
    verdict: Verdict = Verdict.APPLIED,
) -> Decision:
    """The decision that a step has ended in a run that undoes; if that ends the run, it takes one more event number."""
    after, more = go_on(after, times)
    count = reserved + (1 if after.status.final else 0)
    return Decision(
        verdict=verdict,
        state=replace(after, sequence=before.sequence + count),
        commands=(*commands, *more),
        sequence=before.sequence + 1,
        reserved=count,
    )


def dropped(step: StepState) -> StepState:
    """The state of a step that is dropped before it has ended. A retry starts it again, and repeats its idempotency key."""
    return replace(
        failed(step),
        status=StepStatus.SKIPPED,
        waiting_since=None,
        accepts={},
        resume=None,
        backing_off=False,
        held=None,
    )


def failed(step: StepState) -> StepState:
    """The state of a step that has failed."""
    return replace(step, status=StepStatus.FAILED, fence=None)


def begun(state: RunState) -> frozenset[str]:
    """The steps whose compensation was begun."""
    if state.undoing is None:
        return frozenset()
    return frozenset(entry.step for entry in (state.undo or ())[state.undoing.left :])


def _end(state: RunState, ending: Status, times: Times) -> Change:
    return replace(state, status=ending, finished_at=times.now), (Finish(ending),)
