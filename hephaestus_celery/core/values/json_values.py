"""The values that contexts and results may have: those that are stored as JSON and read back equal.

Law 8 of the design is kept here: what is read equals what was written. JSON (plus datetime, date, time, Decimal and UUID)
would change some values, such as a tuple or NaN. These are refused when a caller passes them.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Mapping
from typing import Any, cast
from zoneinfo import ZoneInfo

from hephaestus_celery.core.values.formatting import named, shortened
from hephaestus_celery.exceptions import DataError

MAX_DEPTH = 64
LONGEST_PATH = 200
"""Characters of a path that a message shows."""
MAX_DIGITS = 4300  # the length up to which Python turns text into an int by default
_LARGEST = 10**MAX_DIGITS - 1
_SMALLEST = -_LARGEST


def check_mapping(value: object, path: str) -> dict[str, Any]:
    """A plain copy of ``value``, a mapping with string keys and storable values; else :class:`DataError`."""
    if not isinstance(value, Mapping):
        raise DataError(f"{_place(path)} must be a mapping with string keys, not {named(value)}")
    return _mapping(cast("Mapping[object, object]", value), path, 0)


def check_value(value: object, path: str) -> Any:
    """A plain copy of ``value``; :class:`DataError` names the path of the first part that can't be stored."""
    return _value(value, path, 0)


def _value(value: object, path: str, depth: int) -> Any:
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return _int(cast("int", value), path)
    if kind is float:
        return _float(cast("float", value), path)
    if isinstance(value, Mapping):
        return _mapping(cast("Mapping[object, object]", value), path, depth)
    if isinstance(value, list):
        return _list(cast("list[object]", value), path, depth)
    return _scalar(value, path)


def _mapping(value: Mapping[object, object], path: str, depth: int) -> dict[str, Any]:
    _check_depth(path, depth)
    result: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise DataError(f"{_place(path)} has the key {named(key)}; keys must be strings")
        name = str.__str__(key)  # a member of a str enum equals its value: take the value
        result[name] = _value(item, f"{path}.{name}", depth + 1)
    return result


def _list(value: list[object], path: str, depth: int) -> list[Any]:
    _check_depth(path, depth)
    return [_value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]


def _scalar(value: object, path: str) -> Any:  # noqa: PLR0911 - one return per type that can be carried
    match value:
        case str():  # a StrEnum member equals its plain value, and so does an IntEnum's
            return str.__str__(value)
        case int():
            return _int(int(value), path)
        case float():
            return _float(float(value), path)
        case decimal.Decimal() if type(value) is decimal.Decimal and not value.is_nan():
            return value
        case uuid.UUID() if type(value) is uuid.UUID:
            return value
        case dt.datetime() if type(value) is dt.datetime and _carries_zone(value):
            _check_local(value, path)
            return value
        case dt.date() if type(value) is dt.date:
            return value
        case dt.time() if type(value) is dt.time and _carries_zone(value):
            return value
        case tuple():
            raise DataError(f"{_place(path)} is a tuple, which would be read back as a list; pass a list")
        case _:
            raise DataError(
                f"{_place(path)} can't be carried: {named(value)}; allowed is JSON plus datetime, date, time, Decimal and UUID"
            )


def _int(value: int, path: str) -> int:
    if not _SMALLEST <= value <= _LARGEST:
        raise DataError(f"{_place(path)} can't be carried: an int of more than {MAX_DIGITS} digits")
    return value


def _float(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise DataError(f"{_place(path)} can't be carried: {value!r} is no JSON number")
    return value


def _carries_zone(value: dt.datetime | dt.time) -> bool:
    # A time zone without a fixed offset (a ZoneInfo on a bare time) gives isoformat no offset to write.
    return value.tzinfo is None or value.utcoffset() is not None


def _check_local(value: dt.datetime, path: str) -> None:
    # A local time that occurs twice (or never) in its zone equals no time of another zone. It is read back equal only in
    # the same zone, so the zone needs a name by which it is found again.
    zone = value.tzinfo
    if zone is None or value.utcoffset() == value.replace(fold=1 - value.fold).utcoffset():
        return
    if isinstance(zone, ZoneInfo) and zone.key and ZoneInfo(zone.key) is zone:
        return
    raise DataError(
        f"{path} can't be carried: {named(value)} is ambiguous in its time zone, or does not exist there, and would not "
        "be read back equal; give it a zone of zoneinfo, ZoneInfo('Europe/Berlin'), or convert it to UTC"
    )


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise DataError(f"{_place(path)} is nested deeper than {MAX_DEPTH} levels (or contains itself)")


def _place(path: str) -> str:
    return shortened(path, limit=LONGEST_PATH)
