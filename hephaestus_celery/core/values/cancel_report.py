"""The report that ``cancel`` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelReport:
    """What a cancelled run's steps were doing: the keys of those being executed, and of these the ones interrupted.

    One that was not interrupted goes on to its end, unless it asks ``context.cancelled()``; its result is discarded.
    """

    executing: frozenset[str] = frozenset()
    interrupted: frozenset[str] = frozenset()
