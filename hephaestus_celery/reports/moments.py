"""Moments and durations as people write them: ``2026-01-31T12:00Z``, or ``2h`` for two hours ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> timedelta:
    """A number of seconds, or a number with a unit: ``90``, ``1.5h``, ``2d``. ``ValueError`` says how to write one."""
    found = _DURATION.fullmatch(text) or _DURATION.fullmatch(f"{text}s")
    try:
        if found:
            return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        pass  # said below
    raise ValueError(f"{text!r} is no duration; write seconds, or 90s, 5m, 1.5h, 2d")


def parse_moment(text: str, *, now: datetime) -> datetime:
    """A moment: ISO 8601 (in UTC where it says no zone), or how long before ``now``. ``ValueError`` says how to write one."""
    try:
        if _DURATION.fullmatch(text):
            return now - parse_duration(text)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no moment; write 2026-01-31T12:00:00Z, or 2h for two hours ago") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
