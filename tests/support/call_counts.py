"""The cost of a call in calls of functions, which is the same on every machine."""

from __future__ import annotations

import sys


def calls_of(function):
    """How many functions, of Python and of C, are called, and what came of it."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        result = function()
    finally:
        sys.setprofile(None)
    return count, result
