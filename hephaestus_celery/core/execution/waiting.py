"""Waiting: a step waits for an event that it accepts, or for a time; a worker applies the event, or drops it.

`storage/redis/lua/suspend.lua` mirrors :func:`suspend` and :func:`discard`. Which step an event from outside is for is decided
in :mod:`hephaestus_celery.core.execution.delivery`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hephaestus_celery.core.execution.commands import ClearTimer, Command, SetTimer, TimerKind, send
from hephaestus_celery.core.execution.state import Decision, EarlyEvent, RunState, Verdict, applied, stale
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.transitions import refusal_of
from hephaestus_celery.core.execution.undoing import dropped, end_late
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import PendingResume, StepState


def suspend(
    state: RunState,
    activation: Activation,
    *,
    fence: str,
    accepts: Mapping[str, str],
    timeout: int | None,
    times: Times,
    checks: bool = False,
) -> Decision:
    """A step waits from now on for an event that it ``accepts``, or for ``timeout`` microseconds.

    An event that was kept for the step is delivered at once; the caller applies it. ``checks``: who applies an event may drop it,
    see :func:`discard`.
    """
    step = state.find(activation)
    refused = refusal_of(state, activation, step, fence=fence)
    if refused is not None or step is None:
        return refused or stale(state)
    if state.undoing is not None and step.compensates is None:
        return end_late(state, activation, dropped(step), times, undo=None)
    over = times.moment + timeout if checks and timeout is not None else None
    waiting = replace(_waiting(step, accepts, times), checks=checks, times_out_at=over)
    timer = None if timeout is None else times.moment + timeout
    return _wait(state, activation, waiting, accepts, timer=timer, times=times)


def discard(
    state: RunState, activation: Activation, *, fence: str, accepts: Mapping[str, str], times: Times
) -> Decision:
    """The event that a worker applies to a step is dropped, with its key: the step waits on, and its timeout is as it was.

    Another event that was kept for the step is delivered at once.
    """
    step = state.find(activation)
    refused = refusal_of(state, activation, step, fence=fence)
    if refused is not None or step is None or step.resume is None:
        return refused or stale(state)
    if state.undoing is not None and step.compensates is None:
        return end_late(state, activation, dropped(step), times, undo=None)
    key = step.resume.key
    if key is not None:
        owners = {name: owner for name, owner in state.owners.items() if name != key}
        state = replace(state, keys=state.keys - {key}, owners=owners)
    waiting = replace(_waiting(step, step.accepts, times), waiting_since=step.waiting_since, resume=None)
    return _wait(state, activation, waiting, accepts, timer=step.times_out_at, times=times)


def deliver(
    state: RunState,
    activation: Activation,
    *,
    name: str,
    source: str,
    times: Times,
    by: str | None = None,
    key: str | None = None,
) -> Decision:
    """Deliver an event to a waiting step that accepts it; a worker then applies it."""
    step = state.steps[str(activation)]
    known = key if step.checks else None
    resume = PendingResume(event=step.accepts[name], source=source, at=times.now, by=by, key=known)
    resumed = replace(step, resume=resume, sent_at=times.apart)
    after = state.with_step(activation, resumed)
    return Decision(verdict=Verdict.APPLIED, state=after, commands=send(activation, resumed, times))


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


def _wait(
    state: RunState,
    activation: Activation,
    waiting: StepState,
    accepts: Mapping[str, str],
    *,
    timer: int | None,
    times: Times,
) -> Decision:
    early = _find_early(state, activation, accepts)
    event = accepts[early.name] if early is not None else "timeout" if str(activation) in state.timeouts else None
    commands: tuple[Command, ...] = (ClearTimer(activation),)
    if event is not None:
        source = "timeout" if early is None else "external"
        key = early.key if early is not None and waiting.checks else None
        by = None if early is None else early.by
        resume = PendingResume(event=event, source=source, at=times.now, by=by, key=key)
        waiting = replace(waiting, resume=resume, sent_at=times.apart)
        commands = send(activation, waiting, times)
    elif timer is not None:
        commands = (SetTimer(activation, TimerKind.TIMEOUT, timer),)
    after = replace(
        state.with_step(activation, waiting),
        early=tuple(kept for kept in state.early if kept is not early),
        timeouts=state.timeouts if early is not None else state.timeouts - {str(activation)},
    )
    if early is not None and early.key is not None:
        after = replace(after, owners={**after.owners, early.key: str(activation)})
    return applied(state, after.derived(), reserved=1, commands=commands)


def _find_early(state: RunState, activation: Activation, accepts: Mapping[str, str]) -> EarlyEvent | None:
    # In the order in which the step declares the names; among events of one name, those for this step alone come first.
    for name in accepts:
        for step in (str(activation), None):
            for kept in state.early:
                if (kept.name, kept.step) == (name, step):
                    return kept
    return None
