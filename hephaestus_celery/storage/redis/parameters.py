"""The parameters of scripts: one JSON object, and the rows and numbers in it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hephaestus_celery.core.execution.joins import Row, Settlement
from hephaestus_celery.core.values.formatting import shortened
from hephaestus_celery.exceptions import DataError
from hephaestus_celery.storage.durations import Durations

# json.dumps makes an encoder a call. What is no JSON, or no text that UTF-8 can carry, shows when it is written or sent.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False, ensure_ascii=False).encode
_EXACT = 10**14


def as_parameters(**values: object) -> str:
    """The JSON object that a script takes; what is None is left out, since Lua has no null."""
    try:
        return _encode({key: value for key, value in values.items() if value is not None})
    except (ValueError, TypeError) as error:
        raise DataError(f"the store can't be asked for that: {shortened(str(error), limit=200)}") from error


def whole(number: int) -> int | str:
    """An int for a script to keep: as text where it has more digits than a number of Lua's JSON keeps (14)."""
    return number if abs(number) < _EXACT else str(number)


def retention_of(durations: Durations) -> int:
    """How long a script keeps an ended run: 0 where that is for ever."""
    return durations.retention or 0


def with_time(parameters: str, *, now: int, offset: int, slack: int, punctual: bool) -> str:
    """The same with what the caller knows of the time: see ``steady`` in ``lua/parts/time.lua``."""
    kept = f',"offset":{offset}' if offset else ""
    asked = ',"punctual":true' if punctual else ""
    others = "" if parameters == "{}" else f"{parameters[1:-1]},"
    return f'{{{others}"now":{now},"slack":{slack}{kept}{asked}}}'


def settlement_rows(settlement: Settlement) -> dict[str, list[int | str]]:
    """The rows of a settlement as ``complete.lua`` takes them: those that say more than that there is one predecessor."""
    rows = settlement.rows.items()
    return {key: [row.predecessors, *row.successors] for key, row in rows if row.predecessors != 1 or row.successors}


def settling_row(row: Row, *, attempts: int, lane: str | None) -> str:
    """One row as ``settle.lua`` takes it, with what is to be known of a step that starts."""
    return _encode([row.predecessors, whole(attempts), lane or "", *row.successors])


def attempts(numbers: Mapping[str, int]) -> dict[str, object]:
    """How often steps may be attempted, as ``complete.lua`` takes it: the same for most."""
    most = next(iter(numbers.values()), 1)
    return {"most": whole(most), "attempts": {key: whole(number) for key, number in numbers.items() if number != most}}
