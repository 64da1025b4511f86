"""Telemetry events as data, and :func:`emit`, by which the process that has committed emits them after the commit.

Which events a commit leads to is said by :mod:`hephaestus_celery.runners.step_events` and
:mod:`hephaestus_celery.runners.run_events`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hephaestus_celery.core.definition.graph import StepClass
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.telemetry.catalogue import names
from hephaestus_celery.telemetry.emitter import Emitter
from hephaestus_celery.telemetry.handlers import EventName

logger = logging.getLogger("hephaestus_celery")

_EMITTERS: Mapping[EventName, Callable[..., None]] = {
    names.WORKFLOW_START: Emitter.workflow_start,
    names.WORKFLOW_STOP: Emitter.workflow_stop,
    names.WORKFLOW_EXCEPTION: Emitter.workflow_exception,
    names.WORKFLOW_TRANSITION: Emitter.workflow_transition,
    names.ENGINE_ADVANCE: Emitter.engine_advance,
    names.STEP_START: Emitter.step_start,
    names.STEP_STOP: Emitter.step_stop,
    names.STEP_EXCEPTION: Emitter.step_exception,
    names.STEP_ASYNC: Emitter.step_async,
    names.STEP_RESUME: Emitter.step_resume,
    names.STEP_RESCUE: Emitter.step_rescue,
    names.STEP_DISCARD: Emitter.step_discard,
    names.WORKFLOW_CANCEL: Emitter.workflow_cancel,
    names.WORKFLOW_COMPENSATE: Emitter.workflow_compensate,
}


@dataclass(slots=True, kw_only=True)  # not frozen: that is five times as slow, and a step makes four of them
class Event:
    """One event to be emitted: its name, its run, and its fields. It never changes.

    ``fields`` are those that every event of this name has; ``extra`` is the rest of its metadata.
    """

    name: EventName
    instance: Instance
    fields: Mapping[str, Any]
    extra: Mapping[str, Any]


def emit(events: Sequence[Event], emitter: Emitter) -> None:
    """Emit the events, with the times of the emitter's clock. One that can't be emitted is logged; the others go on."""
    for event in events:
        try:
            _EMITTERS[event.name](emitter, event.instance, **event.fields, extra=event.extra)
        except Exception:
            logger.exception("the event %s can't be emitted", ".".join(event.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSource:
    """The source of events: a step of an instance, in a worker, whose fields every event carries."""

    instance: Instance
    step: StepClass
    runner: type
    worker: Mapping[str, Any]

    def metadata(self, sequence: int, **fields: Any) -> dict[str, Any]:
        """Metadata of one event."""
        return {**fields, **self.worker, "sequence": sequence}
