"""The durations of one storage (lease, dispatch timeout, retention), in microseconds as scripts take them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from hephaestus_celery.core.values.retry import FOREVER
from hephaestus_celery.storage.port import Durations


class HeldDurations:
    """The durations that apply: those that the storage was made with, else those of its first runtime."""

    def __init__(
        self,
        *,
        dispatch_timeout: timedelta | None,
        lease: timedelta | None,
        retention: timedelta | Literal["default"] | None,
    ) -> None:
        given = {"dispatch_timeout": dispatch_timeout, "lease": lease}
        self._given: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if retention != "default":
            self._given["retention"] = retention
        self._adopted = False
        self.held = self._hold(Durations())

    def adopt(self, durations: Durations) -> Durations:
        """Take the durations that the storage was not made with, once; returns all that apply."""
        if not self._adopted:
            self.held, self._adopted = self._hold(durations), True
        return self.held

    def _hold(self, durations: Durations) -> Durations:
        held = replace(durations, **self._given)
        self.dispatch_timeout = microseconds(held.dispatch_timeout)
        self.lease = microseconds(held.lease)
        self.retention = 0 if held.retention is None else microseconds(held.retention)
        return held


def microseconds(duration: timedelta) -> int:
    """A duration in microseconds, limited so that every sum of it and a time has a date."""
    return min(duration, timedelta(seconds=FOREVER)) // timedelta(microseconds=1)
