"""The rules for names of steps and events."""

from __future__ import annotations

import re

DONE = "done"
"""The key of ``Done``, the end of every workflow."""

LONGEST_KEY, LONGEST_EVENT = 200, 100
"""Characters that the key of a step, and the name of an event, may have."""

_NAME = re.compile(r"[^\s|\x00-\x1f\x7f]+")


def is_name(value: object) -> bool:
    """Whether ``value`` can name an event: 1 to 100 printable characters without white space or ``|``."""
    return _is_word(value, LONGEST_EVENT)


def is_key(value: object) -> bool:
    """Whether ``value`` can be the key of a step: 1 to 200 printable characters without white space or ``|``."""
    return _is_word(value, LONGEST_KEY)


def _is_word(value: object, longest: int) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        return False
    return _NAME.fullmatch(value) is not None and value.isprintable()
