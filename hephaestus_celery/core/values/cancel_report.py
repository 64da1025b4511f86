"""The report that ``cancel`` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelReport:
    """The steps of a cancelled run that were being executed, by key, and those of them that were interrupted.

    A step that was not interrupted goes on to its end, unless it asks ``context.cancelled()``. Its result is discarded.
    """

    executing: frozenset[str] = frozenset()
    interrupted: frozenset[str] = frozenset()
