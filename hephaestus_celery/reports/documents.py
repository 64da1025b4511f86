"""JSON of what commands read: the field names are those of ``Instance``, ``HistoryEntry`` and the other values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any

from hephaestus_celery.reports.times import iso


def as_json(value: object) -> str:
    """One line of ASCII: whatever a run holds, no terminal and no encoding is disturbed by it."""
    return json.dumps(plain(value), allow_nan=False)


def plain(value: object) -> Any:
    """A value made of what JSON has: times are ISO 8601, durations seconds, decimals and UUIDs text."""
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return str(value)


def _as_is(value: Any) -> Any:
    return value


def _listed(value: Any) -> list[Any]:
    return [plain(item) for item in value]


_CONVERSIONS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.value),
    ((type(None), bool, int, float, str), _as_is),
    (datetime, lambda value: iso(value) if value.tzinfo else value.isoformat()),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: value.total_seconds()),
    (Mapping, lambda value: {str(key): plain(item) for key, item in value.items()}),
    ((set, frozenset), lambda value: sorted(_listed(value))),
    ((list, tuple), _listed),
)
"""How values of each type become JSON; the first that fits counts. Others (decimals, UUIDs) become text."""
