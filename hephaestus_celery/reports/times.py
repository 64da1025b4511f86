"""Times and durations: short ones for people, ISO 8601 with a zone for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_SHORT = 10.0


def iso(moment: datetime | None) -> str:
    """A moment in UTC, to the millisecond; empty where there is none."""
    if moment is None:
        return ""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_time(moment: datetime, *, now: datetime) -> str:
    """A moment as people read it: the time alone where it is of the same day (UTC)."""
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"


def length(duration: timedelta | float) -> str:
    """A duration in its two largest units: ``0.25s``, ``42s``, ``3m20s``, ``2d4h``."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < _SHORT:
        return f"{seconds:.1f}s".replace(".0s", "s")
    left, parts = round(seconds), list[str]()
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return "".join(part for part in parts[:2] if not part.startswith("0"))


def age(moment: datetime, *, now: datetime) -> str:
    """How long ago a moment was."""
    return length(now - moment)
