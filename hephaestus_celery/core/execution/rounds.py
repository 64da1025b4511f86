"""Rounds: a step that answers ``Again`` is executed again after a time, and its history stays bounded.

A round is no attempt: each has its own, from the first on. Between two rounds the step waits. No event reaches it then, and
events that were kept for it stay kept. ``storage/redis/lua/again.lua`` mirrors this.

Laws held here (tested in ``tests/properties``): a round begins once, and its number never falls; what the history keeps of a
step's rounds is the first :data:`FIRST_KEPT`, the last :data:`LAST_KEPT`, and one entry that stands for all between.
"""

from __future__ import annotations

from dataclasses import replace

from hephaestus_celery.core.execution.commands import SetTimer, TimerKind, send
from hephaestus_celery.core.execution.limits import FIRST_KEPT, LAST_KEPT
from hephaestus_celery.core.execution.state import Decision, RunState, applied, stale
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.transitions import refusal_of
from hephaestus_celery.core.execution.undoing import dropped, end_late
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import StepState


def again(state: RunState, activation: Activation, *, fence: str, delay: int, times: Times) -> Decision:
    """A step is executed again, in another round, after ``delay`` microseconds; with 0 its message is sent at once."""
    step = state.find(activation)
    refused = refusal_of(state, activation, step, fence=fence)
    if refused is not None or step is None or step.resume is not None:
        return refused or stale(state)
    if state.undoing is not None and step.compensates is None:
        return end_late(state, activation, dropped(step), times, undo=None)
    following = StepState(
        status=StepStatus.ACTIVE,
        max_attempts=step.max_attempts,
        dispatch=step.dispatch + 1,
        queued_at=times.now + delay,
        claimed_at=step.claimed_at,
        worker=step.worker,
        lane=step.lane,
        origin=step.origin,
        round=step.round + 1,
        noted=step.noted + 1,
        compensates=step.compensates,
    )
    if delay == 0:
        following = replace(following, sent_at=times.apart)
        commands = send(activation, following, times)
    else:
        following = replace(following, status=StepStatus.WAITING, backing_off=True, waiting_since=times.now)
        commands = (SetTimer(activation, TimerKind.ROUND, times.moment + delay),)
    return applied(state, state.with_step(activation, following).derived(), reserved=1, commands=commands)


def begun(step: StepState) -> StepState:
    """The state of a step whose next round is due: it is active."""
    return replace(step, status=StepStatus.ACTIVE, waiting_since=None)


def place_of(number: int) -> int | None:
    """The place where the entry with this number is kept, which it takes from an earlier one; None for the first entries."""
    return None if number <= FIRST_KEPT else (number - FIRST_KEPT - 1) % LAST_KEPT


def left_out(number: int) -> int:
    """Of so many entries, how many are stood for by the one between the first and the last; 0 if there is none."""
    return max(0, number - FIRST_KEPT - LAST_KEPT)


def stands_for(count: int) -> str:
    """The reason of the entry that stands for so many rounds."""
    return f"stands for {count} round{'' if count == 1 else 's'}"
