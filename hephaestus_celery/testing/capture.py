"""Captures the telemetry events that were emitted, for assertions."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from hephaestus_celery import telemetry
from hephaestus_celery.telemetry import EventName


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedEvent:
    """One event as a handler got it."""

    event: EventName
    measurements: dict[str, Any]
    metadata: dict[str, Any]


class EventCapture:
    """Record all events of Hephaestus, those beside the eleven included, that this process emits in a ``with`` block.

    Events of all threads are recorded, in the order in which they came in; child processes have captures of their own.
    Several captures may be open at once, and one may be entered again: it goes on where it ended.
    """

    def __init__(self) -> None:
        self._handler_id = f"event-capture-{uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._captured: list[CapturedEvent] = []

    def __enter__(self) -> Self:
        names = [*telemetry.events(), *telemetry.extension_events()]
        telemetry.attach_many(self._handler_id, names, self._record)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        telemetry.detach(self._handler_id)

    @property
    def events(self) -> list[CapturedEvent]:
        """The events recorded so far, as a new list."""
        with self._lock:
            return list(self._captured)

    def names(self) -> list[EventName]:
        """The names of the recorded events, in order."""
        return [captured.event for captured in self.events]

    def of(self, event: EventName) -> list[CapturedEvent]:
        """The recorded events of this name, in order."""
        return [captured for captured in self.events if captured.event == event]

    def _record(
        self, event: EventName, measurements: dict[str, Any], metadata: dict[str, Any], _config: object
    ) -> None:
        captured = CapturedEvent(event=event, measurements=measurements, metadata=metadata)
        with self._lock:
            self._captured.append(captured)
