"""Which events an instance waits for, or may still wait for, and the error messages that list them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from hephaestus_celery.core.definition.registry import find_definition
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.limits import MOST_KEPT, MOST_KEYS
from hephaestus_celery.core.values.formatting import listed
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.resume_and_cancel import DeliveryReport

_COMPARED = 1000  # names that a misspelt one is compared with


def declares(instance: Instance, key: str, event: str) -> bool:
    """Whether a step of an instance takes this event while it waits."""
    return event in _accepted(instance, key)


def _accepted(instance: Instance, key: str) -> Sequence[str]:
    definition = find_definition(instance)
    if definition is None or key not in definition.graph.by_key or key == DONE:
        return ()
    step = definition.graph.by_key[key]
    if key in instance.configs:
        return tuple(step.resume_events(instance.configs[key]))
    return [name for config in definition.graph.configs(step) for name in step.resume_events(config)]


def can_time_out(instance: Instance, key: str) -> bool:
    """Whether the event ``"timeout"`` leads on from a step of an instance, with the config that it has or may get."""
    definition = find_definition(instance)
    if definition is None:
        return True
    step = definition.graph.by_key.get(key)
    if step is None:
        return False
    configs = [instance.configs.get(key)] if key in instance.step_states else definition.graph.configs(step)
    return any("timeout" in step.events_for(config) for config in configs)


def can_still_wait(instance: Instance, event: str, step: str | None) -> bool:
    """Whether some step (or the one named) may still wait for an event: only then an early event is kept.

    In a run that undoes what has completed, only compensations may. A step that may drop the event which it was given may wait again.
    """
    definition = find_definition(instance)
    if definition is None:
        return True
    ended = {key for key, state in instance.step_states.items() if not (state.can_wait or state.may_wait_on)}
    begins = {step.key for step in definition.graph.compensating} if instance.undoes else definition.graph.by_key
    keys = [key for key in begins if key not in ended and step in (None, key)]
    return any(event in _accepted(instance, key) for key in keys)


def not_waiting(instance: Instance, event: str, step: str | None, report: DeliveryReport, *, keep_early: bool) -> str:
    """The message of a ``NotWaitingError``: the reason, what would be accepted, and what to do."""
    if report.status.final:
        return f"{instance.id} has ended ({report.status}); nothing waits for {event!r} any more"
    unknown = _unknown(instance, event, step)
    if unknown is not None:
        return unknown
    given = [key for key in _those(instance, step) if _was_given(instance, key, event)]
    if given:
        resume = instance.step_states[given[0]].resume
        had = "" if resume is None else f" ({resume.event!r}, {resume.source})"
        return (
            f"step {listed(given)} of {instance.id} has been given an event already{had}, which a worker is about to "
            f"apply; {event!r} is not accepted before that. An event that may come twice has a key: resume(..., key=...)"
        )
    subject = f"step {step} of {instance.id} does not wait" if step else f"no step of {instance.id} waits"
    executing = f" ({listed(sorted(report.executing))} being executed)" if report.executing else ""
    text = f"{subject} for {event!r}{executing}; {whereabouts(instance)}"
    accepted = _accepted_now(instance)
    if accepted:
        text += f"; accepted are {accepted}"
    if not can_still_wait(instance, event, step):
        return f"{text}. The steps that take {event!r} have ended in this run"
    return text if keep_early else f"{text}. keep_early=True keeps an event until its step waits"


def too_many(instance: Instance, event: str, report: DeliveryReport) -> str:
    """The message of a ``TooManyEventsError``."""
    if report.outcome is Delivered.TOO_MANY_KEPT:
        return (
            f"{instance.id} (run {instance.run_id}) keeps {MOST_KEPT} early events already, and {event!r} would be one "
            "more; send it again when a step has waited for one of them"
        )
    return (
        f"{instance.id} (run {instance.run_id}) remembers the keys of {MOST_KEYS:,} events already; {event!r} can only be "
        "accepted without a key"
    )


def still_going(instance: Instance, seconds: float | None) -> str:
    """The message of a ``WaitTimeoutError``."""
    text = f"{instance.id} is still {instance.status} after {seconds} s ({whereabouts(instance)})"
    if instance.status is not Status.PENDING:
        return f"{text}; it goes on"
    return (
        f"{text}; no worker has begun with it: see that one runs, has imported "
        f"{instance.workflow_name}, and takes from the queue of its first step"
    )


def _unknown(instance: Instance, event: str, step: str | None) -> str | None:
    """What to say of an event or step that the workflow does not have; None where this process does not know the workflow."""
    definition = find_definition(instance)
    if definition is None:
        return None
    steps = definition.graph.by_key
    if step is not None and step not in steps:
        return f"{definition.__qualname__} has no step {step!r}{_nearest(step, steps)}; its steps are {listed(list(steps))}"
    taken = {name: key for key in _those(instance, step) for name in _accepted(instance, key)}
    if event in taken:
        return None
    subject = (
        f"step {step} of {definition.__qualname__} never waits"
        if step
        else f"no step of {definition.__qualname__} waits"
    )
    if not taken:
        return f"{subject} for an event, {event!r} or any other"
    # Any step may return Async, so any of its events may come from outside: the likely ones stand first.
    now = [name for name, _ in _waited_for(instance) if name in taken]
    likely = [*now, *(name for name, key in taken.items() if name not in steps[key].events)]
    ordered = list(dict.fromkeys([*likely, *taken]))
    hint = _nearest(event, likely) or _nearest(event, ordered)
    return f"{subject} for {event!r}{hint}, only for {listed([repr(name) for name in ordered])}"


def _nearest(name: str, known: Collection[str]) -> str:
    found = difflib.get_close_matches(name, list(known)[:_COMPARED], n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _those(instance: Instance, step: str | None) -> list[str]:
    # The step that is meant, or all that the workflow has.
    if step is not None:
        return [step]
    definition = find_definition(instance)
    return list(instance.step_states if definition is None else definition.graph.by_key)


def _was_given(instance: Instance, key: str, event: str) -> bool:
    state = instance.step_states.get(key)
    return (
        state is not None and state.status is StepStatus.WAITING and state.resume is not None and event in state.accepts
    )


def _accepted_now(instance: Instance) -> str:
    # What the steps that wait accept, as the store has it: known also where the workflow is not defined.
    return listed([f"{name!r} by {key}" for name, key in _waited_for(instance)])


def _waited_for(instance: Instance) -> list[tuple[str, str]]:
    return [(name, key) for key, state in instance.step_states.items() if state.waits for name in state.accepts]


def whereabouts(instance: Instance) -> str:
    """Which steps are active and which wait, for a message."""
    parts = [
        f"{status}: {listed(keys)}"
        for status in ("active", "waiting")
        if (keys := [_called(key, state) for key, state in instance.step_states.items() if state.status == status])
    ]
    return "; ".join(parts) or "nothing active or waiting"


def _called(key: str, state: StepState) -> str:
    if state.between_rounds:
        return f"{key} (until round {state.round} begins)"
    if not state.backing_off:
        return key
    return f"{key} (backing off before attempt {state.attempt} of {state.max_attempts})"
