"""Durable timers that users set: ``schedule_resume`` and ``cancel_timer``."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from hephaestus_celery.client.calls import (
    AioCalls,
    RuntimeCalls,
)
from hephaestus_celery.client.expected_events import can_time_out
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.resolve import read_run
from hephaestus_celery.core.definition.step import Step, check_step_key
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.inputs import is_timer
from hephaestus_celery.core.values.names import is_key
from hephaestus_celery.core.values.retry import seconds
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import DataError, NotWaitingError, StorageError

_MOST_UNANSWERED = 1000  # cancellations of timers whose lost replies a process remembers


async def schedule(means: Means, id: str, step: type[Step[Any]] | str, delay: float | timedelta) -> str:
    """Set a timer; see :meth:`Hephaestus.schedule_resume`."""
    key = check_step_key(step)
    if key is None:
        raise DataError("step must be a step class or its key, not None")
    length = seconds(delay, name="delay")
    if length < 0:
        raise ValueError(f"delay must not be negative: {shown(delay)}")
    instance = await read_run(means, id)
    if not can_time_out(instance, key):
        raise NotWaitingError(f"{instance.id} has no step {key!r} with a transition for 'timeout'")
    reference = means.token()
    if not await means.storage.schedule(
        instance.run_id, Activation(key), reference=reference, delay=round(length * 1e6)
    ):
        status = (await read_run(means, instance.run_id)).status
        raise NotWaitingError(f"{instance.id} has ended ({status}); nothing waits any more")
    return f"{instance.run_id}|{key}|{reference}"


async def cancel(means: Means, reference: object) -> bool:
    """Cancel a timer; see :meth:`Hephaestus.cancel_timer`."""
    match reference.split("|") if isinstance(reference, str) else ():
        case [run_id, key, name] if is_run_id(run_id) and is_key(key) and is_timer(name):
            return await _cancel(means, run_id, key, name)
        case _:
            raise ValueError(f"{shown(reference)} is no reference of a timer; schedule_resume gives one")


async def _cancel(means: Means, run_id: str, step: str, reference: str) -> bool:
    operation = means.unanswered.pop(reference, None) or means.token()
    try:
        return await means.storage.unschedule(run_id, Activation(step), reference=reference, operation=operation)
    except (StorageError, asyncio.CancelledError):  # it may have been cancelled, and its reply is not known
        means.unanswered[reference] = operation
        while len(means.unanswered) > _MOST_UNANSWERED:
            means.unanswered.pop(next(iter(means.unanswered)), None)
        raise


class Timers(RuntimeCalls):
    """Timers, of ``Hephaestus``."""

    def schedule_resume(self, id: str, step: type[Step[Any]] | str, delay: float | timedelta) -> str:
        """A durable timer: after ``delay`` (seconds or timedelta) the step gets the event ``"timeout"``, if it waits.

        Returns a reference for :meth:`cancel_timer`. A step that does not wait yet gets the event when it waits; a step
        that has ended never gets it. ``NotWaitingError`` when the run has ended, or the step can't take a timeout.
        """
        return run_now(schedule(self._means(), id, step, delay))

    def cancel_timer(self, reference: str) -> bool:
        """Cancel a timer of :meth:`schedule_resume`; False when it has fired, was cancelled, or its run has ended.

        After a ``StorageError`` the timer may have been cancelled, and only the reply was lost. Then call again: the second
        call returns what the first one would have returned.
        """
        return run_now(cancel(self._means(), reference))


class AioTimers(AioCalls):
    """Timers, of ``Hephaestus.aio``."""

    async def schedule_resume(self, id: str, step: type[Step[Any]] | str, delay: float | timedelta) -> str:
        """A durable timer: after ``delay`` (seconds or timedelta) the step gets the event ``"timeout"``, if it waits.

        As :meth:`Hephaestus.schedule_resume`.
        """
        return await schedule(self._means(), id, step, delay)

    async def cancel_timer(self, reference: str) -> bool:
        """Cancel a timer of :meth:`schedule_resume`; as :meth:`Hephaestus.cancel_timer`."""
        return await cancel(self._means(), reference)
