"""The rules for names of steps and events."""

from __future__ import annotations

import re

DONE = "done"
"""The key of ``Done``, the end of every workflow."""

FAILED = "@failed"
"""The event of a step that has failed for good: a transition ``(Charge, FAILED): Refund`` takes the failure.

Without such a transition the failure of the step is that of the run. With it the step is completed, with the failure
(``kind``, ``type``, ``message``) as its result, and the run goes on: see :meth:`Context.failure`.
"""

LONGEST_KEY, LONGEST_EVENT = 200, 100
"""Characters that the key of a step, and the name of an event, may have."""

_NAME = re.compile(r"[^\s|\x00-\x1f\x7f]+")


def is_name(value: object) -> bool:
    """Whether ``value`` can name an event: 1 to 100 printable characters without white space or ``|``, not ``@`` first.

    Names that begin with ``@`` are the engine's, as :data:`FAILED` is.
    """
    return _is_word(value, LONGEST_EVENT) and not is_reserved(value)


def is_reserved(value: object) -> bool:
    """Whether ``value`` is a name of the engine's own, which no step declares and no resume brings."""
    return isinstance(value, str) and value.startswith("@")


def is_key(value: object) -> bool:
    """Whether ``value`` can be the key of a step: 1 to 200 printable characters without white space or ``|``."""
    return _is_word(value, LONGEST_KEY)


def _is_word(value: object, longest: int) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        return False
    return _NAME.fullmatch(value) is not None and value.isprintable()
