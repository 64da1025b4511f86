"""Checks of text that comes from outside (ids, keys, reasons), before anything is asked of the store.

Other modules have the rules of instance ids, run ids, and names of events and steps; this one checks the other arguments of
callers. A ``DataError`` shows a refused text, shortened.
"""

from __future__ import annotations

import re
from typing import TypeGuard

from hephaestus_celery.core.values.formatting import named
from hephaestus_celery.exceptions import DataError

_TIMER = re.compile(r"[0-9a-f]{16}")
LONGEST_EVENT_KEY = 200
"""Characters that the key of an event may have."""
LONGEST_TASK_ID = 255
"""Characters of the id of a task, and of the name of a worker."""
LONGEST_ID = 1000
"""Characters of an id, workflow name or tag that a caller asks for: longer than any that can exist."""
_LARGEST_COUNT = 10**14


def is_timer(reference: str) -> bool:
    """Whether this names a timer of a run, as the last part of its reference does."""
    return _TIMER.fullmatch(reference) is not None


def is_count(number: object) -> bool:
    """Whether this can count attempts or messages: an int of at least 1, and less than a bound that no run reaches."""
    return type(number) is int and 0 < number < _LARGEST_COUNT


def is_number(number: object) -> bool:
    """Whether this can be the number of an event, or 0 for the time before all events."""
    return is_count(number) or (type(number) is int and number == 0)


def is_task_id(text: object) -> TypeGuard[str]:
    """Whether this names a task: 1 to 255 printable characters."""
    return _is_line(text, LONGEST_TASK_ID)


def is_queue(text: object) -> TypeGuard[str]:
    """Whether this names a queue: 1 to 255 printable characters."""
    return _is_line(text, LONGEST_TASK_ID)


def is_asked_for(text: object) -> TypeGuard[str]:
    """Whether this may be the id of an instance, the name of a workflow, or a tag: 1 to 1000 printable characters."""
    return _is_line(text, LONGEST_ID)


def find_worker(text: object) -> str | None:
    """This text if it can name a worker: 1 to 255 printable characters; else None."""
    return text if _is_line(text, LONGEST_TASK_ID) else None


def _is_line(text: object, longest: int) -> TypeGuard[str]:
    return isinstance(text, str) and 0 < len(text) <= longest and text.isprintable()


LONGEST_BY = 200
"""Characters of who made a call, as a history names it."""


def check_by(by: object) -> None:
    """Who makes a call, for the history: 1 to 200 printable characters, or None."""
    if by is not None and not _is_line(by, LONGEST_BY):
        raise DataError(f"by must be a string of 1 to {LONGEST_BY} printable characters, not {named(by)}")


def check_event_key(key: object) -> None:
    """The key of an event: 1 to 200 printable characters, or None."""
    if key is None:
        return
    if not _is_line(key, LONGEST_EVENT_KEY):
        raise DataError(f"key must be a string of 1 to {LONGEST_EVENT_KEY} printable characters, not {named(key)}")
