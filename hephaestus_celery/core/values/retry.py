"""Retry policies: how often a step is attempted, and the backoff between two attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

from hephaestus_celery.core.values.formatting import shown

LONGEST = 1e15
"""Seconds; a larger number, or NaN, is not a duration."""
FOREVER = 6e9
"""Seconds, 190 years; longer durations are cut to it. Stores count microseconds, which are exact up to the year 2255."""
Backoff = Literal["exponential", "linear", "constant"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most ``max_attempts`` attempts (1 = no retry), with a ``backoff`` between two of them.

    ``backoff`` is ``exponential``, ``linear`` or ``constant``, over ``base`` seconds and at most ``max_backoff``. That caps every
    kind: a ``base`` above it needs a ``max_backoff``.

    ``base`` and ``max_backoff`` are seconds or timedeltas. With ``jitter`` the backoff is drawn from the upper half of the
    computed time, so that steps that failed together do not come back together. Raises ``ValueError`` for bad values.
    """

    max_attempts: int = 5
    backoff: Backoff = "exponential"
    base: float | timedelta = 1.0
    max_backoff: float | timedelta = 60.0
    jitter: bool = True

    def __post_init__(self) -> None:
        attempts: object = self.max_attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise ValueError(f"max_attempts must be a positive int, not {shown(attempts)}")
        if self.backoff not in get_args(Backoff):
            raise ValueError(f"backoff must be one of {', '.join(get_args(Backoff))}, not {shown(self.backoff)}")
        for name in ("base", "max_backoff"):
            if seconds(getattr(self, name), name=name) < 0:
                raise ValueError(f"{name} must not be negative: {shown(getattr(self, name))}")

    def delay(self, attempt: int, *, chance: float) -> float:
        """Seconds to back off after the failed attempt number ``attempt`` (from 1); ``chance`` is in [0, 1)."""
        base, ceiling = seconds(self.base, name="base"), seconds(self.max_backoff, name="max_backoff")
        match self.backoff:
            case "exponential":
                pause = base * 2.0 ** min(attempt - 1, 62)
            case "linear":
                pause = base * attempt
            case "constant":
                pause = base
        pause = min(pause, ceiling)
        return pause * (0.5 + chance / 2) if self.jitter else pause


def seconds(value: object, *, name: str) -> float:
    """The seconds of a duration, given in seconds or as a timedelta; ``ValueError`` naming ``name`` for anything else.

    A longer duration than 190 years, such as ``timedelta.max``, counts as 190 years.
    """
    if isinstance(value, timedelta):
        return min(value.total_seconds(), FOREVER)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -LONGEST < value < LONGEST:
        raise ValueError(f"{name} must be seconds or a timedelta, not {shown(value)}")
    return min(float(value), FOREVER)


DEFAULT_RETRY = RetryPolicy()
