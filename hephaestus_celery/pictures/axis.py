"""The axis of a timeline: round marks in units that people use, counted from the start of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hephaestus_celery.reports.times import length

_MILLISECOND = 0.001
_SECONDS = (1, 2, 5, 10, 15, 30)
_STEPS = (
    *(factor * 10**power for power in range(-6, 0) for factor in (1, 2, 5)),
    *_SECONDS,
    *(60 * each for each in _SECONDS),
    *(3600 * each for each in (1, 2, 3, 6, 12)),
    *(86_400 * each for each in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Seconds from the start of the run, from ``begin`` to ``end``, on so many pixels."""

    begin: float
    end: float
    width: float

    def x(self, seconds: float) -> float:
        """The pixel of a moment, not outside of the axis."""
        share = (seconds - self.begin) / (self.end - self.begin)
        return round(min(max(share, 0.0), 1.0) * self.width, 1)

    def ticks(self, *, apart: float = 90) -> Sequence[float]:
        """Round moments, ``apart`` pixels or more from each other."""
        least = (self.end - self.begin) * apart / self.width
        step = next((each for each in _STEPS if each >= least), _STEPS[-1] * -(-least // _STEPS[-1]))
        first = -(-self.begin // step)
        count = int((self.end - first * step) / step + 1e-9) + 1
        return [(first + number) * step for number in range(max(0, count))]


def told(seconds: float) -> str:
    """A moment of an axis: what has passed since the start, in the two largest units."""
    if seconds <= 0:
        return "0"
    if seconds < _MILLISECOND:
        return f"{seconds * 1e6:.0f}µs"
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    return length(seconds)
