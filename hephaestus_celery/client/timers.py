"""Durable timers that users set: ``schedule_resume`` and ``cancel_timer``."""

from __future__ import annotations

from datetime import timedelta

from hephaestus_celery.client.expected_events import can_time_out
from hephaestus_celery.client.parts import Parts
from hephaestus_celery.client.resolve import read_run
from hephaestus_celery.core.definition.step import Step, check_step_key
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.inputs import is_timer
from hephaestus_celery.core.values.names import is_key
from hephaestus_celery.core.values.retry import seconds
from hephaestus_celery.exceptions import DataError, NotWaitingError, StorageError

_MOST_UNANSWERED = 1000  # cancellations of timers whose lost replies a process remembers


class Timers:
    """Sets and cancels timers; remembers which cancellations had no reply, so that a repeat gets the first reply."""

    def __init__(self) -> None:
        self._unanswered: dict[str, str] = {}

    def schedule(self, parts: Parts, id: str, step: type[Step] | str, delay: float | timedelta) -> str:
        """Set a timer; see :meth:`Hephaestus.schedule_resume`."""
        key = check_step_key(step)
        if key is None:
            raise DataError("step must be a step class or its key, not None")
        length = seconds(delay, name="delay")
        if length < 0:
            raise ValueError(f"delay must not be negative: {shown(delay)}")
        instance = read_run(parts.storage, id)
        if not can_time_out(instance, key):
            raise NotWaitingError(f"{instance.id} has no step {key!r} with a transition for 'timeout'")
        reference = parts.chance.token()
        if not parts.storage.schedule(instance.run_id, Activation(key), reference=reference, delay=round(length * 1e6)):
            status = read_run(parts.storage, instance.run_id).status
            raise NotWaitingError(f"{instance.id} has ended ({status}); nothing waits any more")
        return f"{instance.run_id}|{key}|{reference}"

    def cancel(self, parts: Parts, reference: object) -> bool:
        """Cancel a timer; see :meth:`Hephaestus.cancel_timer`."""
        match reference.split("|") if isinstance(reference, str) else ():
            case [run_id, key, name] if is_run_id(run_id) and is_key(key) and is_timer(name):
                return self._cancel(parts, run_id, key, name)
            case _:
                raise ValueError(f"{shown(reference)} is no reference of a timer; schedule_resume gives one")

    def _cancel(self, parts: Parts, run_id: str, step: str, reference: str) -> bool:
        operation = self._unanswered.pop(reference, None) or parts.chance.token()
        try:
            return parts.storage.unschedule(run_id, Activation(step), reference=reference, operation=operation)
        except StorageError:
            self._unanswered[reference] = operation
            while len(self._unanswered) > _MOST_UNANSWERED:
                self._unanswered.pop(next(iter(self._unanswered)), None)
            raise
