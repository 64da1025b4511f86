"""The parameters of scripts: one JSON object, and the rows and numbers in it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hephaestus_celery.core.execution.joins import Row, Settlement
from hephaestus_celery.core.values.formatting import shortened
from hephaestus_celery.exceptions import DataError
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.starts import NewRun, PreparedMessage

# json.dumps would make an encoder for each call. Values that are not JSON, and text that UTF-8 can't encode, raise anyway.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False, ensure_ascii=False).encode
_EXACT = 10**14
_ABOVE = 65_536


def as_parameters(**values: object) -> str:
    """The JSON object that a script takes. None is left out, since Lua has no null."""
    try:
        return _encode({key: value for key, value in values.items() if value is not None})
    except (ValueError, TypeError) as error:
        raise DataError(f"the store can't be asked for that: {shortened(str(error), limit=200)}") from error


def whole(number: int) -> int | str:
    """An int for a script to keep; as text if it has more digits than Lua's JSON keeps of a number (14)."""
    return number if abs(number) < _EXACT else str(number)


def stream_of(durations: Durations) -> int | None:
    """About how many commits the event stream keeps; None where none are told: then no script has anything to do for it."""
    return durations.stream or None


def retention_of(durations: Durations) -> int:
    """How long a script keeps an ended run; 0 for ever."""
    return durations.retention or 0


def with_time(parameters: str, *, now: int, offset: int, slack: int, punctual: bool) -> str:
    """Add the caller's knowledge of the time to parameters: see ``steady`` in ``lua/parts/time.lua``."""
    kept = f',"offset":{offset}' if offset else ""
    asked = ',"punctual":true' if punctual else ""
    others = "" if parameters == "{}" else f"{parameters[1:-1]},"
    return f'{{{others}"now":{now},"slack":{slack}{kept}{asked}}}'


def settlement_rows(settlement: Settlement) -> dict[str, list[int | str]]:
    """The rows of a settlement for ``complete.lua``; rows that say only that there is one predecessor are left out."""
    rows = settlement.rows.items()
    return {key: [_joined(row), *row.successors] for key, row in rows if row.predecessors != 1 or row.successors}


def settling_row(row: Row, *, attempts: int, lane: str | None) -> str:
    """One row for ``settle.lua``, with the number of attempts and the lane of a step that starts."""
    return _encode([_joined(row), whole(attempts), lane or "", *row.successors])


def _joined(row: Row) -> int:
    # The number of a counted join stands above that of its predecessors, of which a step has fewer.
    return row.predecessors + _ABOVE * row.needed


def places(prepared: Mapping[str, PreparedMessage]) -> tuple[list[str], dict[str, list[int]]]:
    """The lists for messages and, by step key, the numbers of its list and of its message."""
    lists = sorted({message.list for message in prepared.values()})
    numbered = enumerate(prepared.items(), 1)
    return lists, {key: [lists.index(message.list) + 1, position] for position, (key, message) in numbered}


def first_steps(run: NewRun) -> tuple[list[str], list[list[object]]]:
    """The lists for the messages of a new run, and its first steps in the form of ``create.lua``."""
    prepared = [first.prepared_message for first in run.firsts if first.prepared_message is not None]
    lists = sorted({message.list for message in prepared})
    rows: list[list[object]] = []
    sent = 0
    for first in run.firsts:
        place: list[object] = []
        if first.prepared_message is not None:
            sent += 1
            place = [lists.index(first.prepared_message.list) + 1, sent]
        rows.append([first.step, whole(first.max_attempts), *place])
    return lists, rows


def data_of_start(run: NewRun) -> list[str]:
    """The data of a new run in the order of ``create.lua``: header, context, configs, and the texts of the messages."""
    texts = [first.prepared_message.text for first in run.firsts if first.prepared_message is not None]
    return [run.header, run.initial, *(first.config or "" for first in run.firsts), *texts]


def attempts(numbers: Mapping[str, int]) -> dict[str, object]:
    """The ``max_attempts`` of steps, for ``complete.lua``: most steps share one number."""
    most = next(iter(numbers.values()), 1)
    return {"most": whole(most), "attempts": {key: whole(number) for key, number in numbers.items() if number != most}}
