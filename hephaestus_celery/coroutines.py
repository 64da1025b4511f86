"""Runs coroutines that never suspend: what is written for event loops serves callers without one, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

A = TypeVar("A")
T = TypeVar("T")

AT_ONCE = 100
"""How many small things are made before others of an event loop have their turn: in a few milliseconds."""
Pause = Callable[[float], Awaitable[None]]
"""Sleeps for some seconds; of an event loop, others have their turn meanwhile."""


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


async def make_each(items: Iterable[A], make: Callable[[A], T], *, pause: Pause) -> list[T]:
    """Make something of each item; of many, a few at a time, so that an event loop can go on in between."""
    made: list[T] = []
    for item in items:
        made.append(make(item))
        if len(made) % AT_ONCE == 0:
            await pause(0)
    return made
