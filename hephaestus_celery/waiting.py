"""What an instance waits for, or may yet wait for, and how to say so."""

from __future__ import annotations

from collections.abc import Sequence

from hephaestus_celery.core.instance import Instance
from hephaestus_celery.storage.base import DeliveryReport


def declares(instance: Instance, key: str, event: str) -> bool:
    """Whether a step of an instance takes this event while it waits."""
    return event in _accepted(instance, key)


def _accepted(instance: Instance, key: str) -> Sequence[str]:
    definition = instance.definition
    if definition is None or key not in definition.graph.by_key:
        return ()
    step = definition.graph.by_key[key]
    if key in instance.configs:
        return tuple(step.resume_events(instance.configs[key]))
    return [name for config in definition.graph.configs(step) for name in step.resume_events(config)]


def can_time_out(instance: Instance, key: str) -> bool:
    """Whether the event ``"timeout"`` leads on from a step of an instance, with the config that it has or may get."""
    definition = instance.definition
    if definition is None:
        return True
    step = definition.graph.by_key.get(key)
    if step is None:
        return False
    configs = [instance.configs.get(key)] if key in instance.step_states else definition.graph.configs(step)
    return any("timeout" in step.events_for(config) for config in configs)


def can_still_wait(instance: Instance, event: str, step: str | None) -> bool:
    """Whether some step (or the one named) may yet wait for an event: only then it is kept, and does not lie for ever."""
    if instance.definition is None:
        return True
    ended = {key for key, state in instance.step_states.items() if not state.can_wait}
    keys = [key for key in instance.definition.graph.by_key if key not in ended and step in (None, key)]
    return any(event in _accepted(instance, key) for key in keys)


def not_waiting(instance: Instance, event: str, step: str | None, report: DeliveryReport) -> str:
    """The message of a ``NotWaitingError``."""
    if report.status.final:
        return f"{instance.id} has ended ({report.status}); nothing waits for {event!r} any more"
    whom = f"step {step} of {instance.id} does not wait" if step else f"no step of {instance.id} waits"
    executing = f" ({', '.join(sorted(report.executing))} being executed)" if report.executing else ""
    return (
        f"{whom} for {event!r}{executing}; {whereabouts(instance)}. keep_early=True keeps an event until its step waits"
    )


def whereabouts(instance: Instance) -> str:
    """Which steps are active and which wait, for a message."""
    parts = [
        f"{status}: {', '.join(keys)}"
        for status in ("active", "waiting")
        if (keys := [key for key, state in instance.step_states.items() if state.status == status])
    ]
    return "; ".join(parts) or "nothing active or waiting"
