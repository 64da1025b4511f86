"""How completed steps are undone: the compensation of each, and how far a run is with them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hephaestus_celery.core.values.lifecycle import Status

_EXACT = 10**15
"""Whole numbers below it are read exactly by every store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """A completed ``step`` that has a ``compensation`` (both are keys), with the most attempts of that, and its lane."""

    step: str
    compensation: str
    max_attempts: int
    lane: str | None = None

    @property
    def text(self) -> str:
        """How it is stored: a JSON list."""
        most = self.max_attempts if self.max_attempts < _EXACT else str(self.max_attempts)
        found = [self.step, self.compensation, most, *([] if self.lane is None else [self.lane])]
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Undo:
        """The one that was stored so."""
        step, compensation, most, *lane = json.loads(text)
        return cls(step=step, compensation=compensation, max_attempts=int(most), lane=lane[0] if lane else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoing:
    """A run undoes what has completed: how it is to end then, and how many of its compensations have not begun."""

    ending: Status
    left: int
