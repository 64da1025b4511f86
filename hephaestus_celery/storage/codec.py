"""Encodes values as JSON text, and decodes them.

``decode(encode(x)) == x`` for every value that :mod:`hephaestus_celery.core.values.json_values` accepts.

Dates, times, decimals and UUIDs are written as ``{"$type": name, "value": text}``. A user's mapping that has the key
``$type`` is wrapped the same way. A datetime in a ``zoneinfo`` zone carries the key of the zone and is read back in that zone,
also in an hour that occurs twice (``fold``). If the zone is unknown, or has changed since, it is read back with its offset.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hephaestus_celery.exceptions import DataError

TAG = "$type"

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "datetime": lambda item: _in_zone(dt.datetime.fromisoformat(item["value"]), item),
    "date": lambda item: dt.date.fromisoformat(item["value"]),
    "time": lambda item: dt.time.fromisoformat(item["value"]).replace(fold=item.get("fold", 0)),
    "decimal": lambda item: decimal.Decimal(item["value"]),
    "uuid": lambda item: uuid.UUID(item["value"]),
    "mapping": lambda item: dict(item["value"]),
}


def encode(value: Any) -> str:
    """JSON text of a checked value."""
    text = _write(value)
    # The tag may come from a date, or it may be a key of the user's own.
    return _write(_escaped(value)) if f'"{TAG}":' in text and _has_tag(value) else text


def decode(text: str) -> Any:
    """The value that :func:`encode` was given."""
    return json.loads(text, object_hook=_untag) if TAG in text else json.loads(text)


def encode_with_newer(fields: Mapping[str, str | int], newer: Mapping[str, str | int]) -> str:
    """JSON text of fields. :func:`decode`, which older code calls, gives them without those that are ``newer`` than it."""
    if not newer:
        return _write(dict(fields))
    return _write({TAG: "mapping", "value": list(fields.items()), **newer})


def decode_with_newer(text: str) -> dict[str, Any]:
    """All fields of such a text."""
    found: dict[str, Any] = json.loads(text)
    if TAG not in found:
        return found
    del found[TAG]
    return {**dict(found.pop("value")), **found}


def encode_limited(value: Any, path: str, *, limit: int) -> str:
    """:func:`encode`; ``DataError`` for a text that is longer than ``limit`` bytes."""
    text = encode(value)
    if len(text) > limit:
        raise DataError(
            f"{path} has {len(text):,} bytes as JSON, more than hephaestus_max_payload allows ({limit:,}); "
            "store it elsewhere and pass a reference"
        )
    return text


def moment(microseconds: int) -> dt.datetime:
    """Microseconds since the epoch as an aware UTC datetime, exactly."""
    return _EPOCH + dt.timedelta(microseconds=microseconds)


def microseconds(moment: dt.datetime) -> int:
    """An aware datetime as microseconds since the epoch, exactly."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def _in_zone(moment: dt.datetime, item: Mapping[str, Any]) -> dt.datetime:
    fold = item.get("fold", 0)
    if "zone" not in item:
        return moment.replace(fold=fold)
    try:
        local = moment.replace(tzinfo=ZoneInfo(item["zone"]), fold=fold)
    except (ZoneInfoNotFoundError, ValueError):
        return moment
    return local if local.utcoffset() == moment.utcoffset() else moment


def _tagged(item: object) -> dict[str, object]:
    match item:
        case dt.datetime():
            zone = item.tzinfo.key if isinstance(item.tzinfo, ZoneInfo) and item.tzinfo.key else None
            return {
                TAG: "datetime",
                "value": item.isoformat(),
                **({"zone": zone} if zone else {}),
                **({"fold": 1} if item.fold else {}),
            }
        case dt.date():
            return {TAG: "date", "value": item.isoformat()}
        case dt.time():
            return {TAG: "time", "value": item.isoformat(), **({"fold": 1} if item.fold else {})}
        case decimal.Decimal():
            return {TAG: "decimal", "value": str(item)}
        case uuid.UUID():
            return {TAG: "uuid", "value": str(item)}
        case _:
            raise DataError(f"{item!r} ({type(item).__name__}) can't be carried")


# json.dumps would make an encoder for each call. Checked values contain no cycles, so the encoder need not look for them.
_write = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False, default=_tagged).encode


def _has_tag(value: Any) -> bool:
    if isinstance(value, dict):
        known = cast("dict[str, Any]", value)
        return TAG in known or any(map(_has_tag, known.values()))
    return isinstance(value, list) and any(map(_has_tag, cast("list[Any]", value)))


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        plain = {key: _escaped(item) for key, item in cast("dict[str, Any]", value).items()}
        return {TAG: "mapping", "value": list(plain.items())} if TAG in plain else plain
    if isinstance(value, list):
        return [_escaped(item) for item in cast("list[Any]", value)]
    return value


def _untag(item: dict[str, Any]) -> Any:
    name = item.get(TAG)
    return item if name is None else _READERS[name](item)
