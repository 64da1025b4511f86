"""Runs coroutines that never suspend: what is written for event loops serves callers without one, too."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on this thread, and return its result; all that it awaits must block, and not suspend.

    So one ``async def`` can be called with and without an event loop: here what it awaits does its work at once.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} was to be run at once, but it waits for an event loop")
