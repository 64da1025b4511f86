"""Where a run stands, in a few words: its steps that are active or wait, since when, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.pause import PausedBy
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.reports.standing import standing_of, with_purpose
from hephaestus_celery.reports.times import age, length
from hephaestus_celery.storage.codec import moment
from hephaestus_celery.storage.port import Storage

_SHOWN = 3
_MOST_STEPS = 20  # of one run whose due times a listing reads
_MOVING = (StepStatus.ACTIVE, StepStatus.WAITING)

DueTimes = Mapping[str, int | None]


def moving_steps(instance: Instance) -> list[str]:
    """The keys of the steps that are active or wait; none where the listing did not bring the states of many steps."""
    if instance.status.final or instance.is_far("step_states"):
        return []
    return [key for key, state in instance.step_states.items() if state.status in _MOVING]


def read_due_times(instances: Sequence[Instance], storage: Storage) -> list[DueTimes]:
    """When the due entries of the moving steps of each instance come due, read together."""
    steps = [(instance.run_id, key) for instance in instances for key in moving_steps(instance)[:_MOST_STEPS]]
    times: Sequence[int | None] = (
        storage.due_times([(run_id, Activation.parse(key)) for run_id, key in steps]) if steps else ()
    )
    found: dict[str, dict[str, int | None]] = {instance.run_id: {} for instance in instances}
    for (run_id, key), at in zip(steps, times, strict=True):
        found[run_id][key] = at
    return [found[instance.run_id] for instance in instances]


def whereabouts(instance: Instance, due: DueTimes, *, now: datetime) -> str:
    """Where a run stands."""
    if instance.status.final:
        return f"at {instance.failed_key}" if instance.failed_key else ""
    if instance.is_far("step_states"):
        return _paused("many steps; show tells" + _deadline(instance, now), instance)
    moving = moving_steps(instance)
    parts = [_whereabouts(key, instance.step_states[key], due.get(key), instance, now=now) for key in moving[:_SHOWN]]
    more = [f"{len(moving) - _SHOWN} more"] if len(moving) > _SHOWN else []
    return _paused("; ".join([*parts, *more]) + _deadline(instance, now), instance)


def _deadline(instance: Instance, now: datetime) -> str:
    if instance.deadline is None or instance.compensating:
        return ""
    over = instance.deadline <= now
    return "; its deadline is over" if over else f"; {length(instance.deadline - now)} to its deadline"


def _paused(text: str, instance: Instance) -> str:
    if not instance.pauses:
        return text
    paused = "paused" if any(pause.reason is PausedBy.RUN for pause in instance.pauses) else "paused with its workflow"
    return f"{paused}; {text}" if text else paused


def _whereabouts(key: str, state: StepState, due: int | None, instance: Instance, *, now: datetime) -> str:
    word = standing_of(state, instance.status)
    key = with_purpose(key, state.compensates)
    left = None if due is None else length(moment(due) - now)
    attempt = f", attempt {state.attempt} of {state.max_attempts}" if state.attempt > 1 else ""
    match word:
        case "backing off":
            return f"{key}: attempt {state.attempt} of {state.max_attempts}" + (f" in {left}" if left else "")
        case "waiting":
            events = sorted(name for name in state.accepts if name != "timeout")
            what = f" for {' or '.join(events)}" if events else ""
            if state.between_rounds:
                what = f" for round {state.round}"
            return f"{key}: waiting{what}{',' if what else ''}{_since(state.waiting_since, now)}" + (
                f", {left} left" if left else ""
            )
        case "executing":
            return f"{key}: executing{_since(state.claimed_at, now)}{attempt}"
        case _:
            return f"{key}: {word}{_since(state.queued_at, now)}{attempt}"


def _since(at: int | None, now: datetime) -> str:
    return "" if at is None else f" for {age(moment(at), now=now)}"
