"""How figures are taken: the median of some calls, and the time that many runs at once take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from benchmarks.marks import Marks

PATIENCE_SECONDS = 60.0
"""How long anything may take that is waited for."""


def median_milliseconds(call: Callable[[], object], *, times: int) -> float:
    """The median duration of so many calls, one after the other."""
    durations: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        durations.append(time.perf_counter() - began)
    return statistics.median(durations) * 1e3


def burst_seconds(
    marks: Marks,
    send: Callable[[Sequence[int]], None],
    *,
    count: int,
    held: AbstractContextManager[None] | None = None,
) -> float:
    """How long it takes until ``count`` marks are set, from the first that ``send`` sends.

    Where the workers are ``held``, everything is sent within that block, and only what they do after it is measured.
    """
    marks.clear(count)
    began = time.perf_counter()
    with held or nullcontext():
        send(range(count))
        if held is not None:
            began = time.perf_counter()
    marks.wait(count, seconds=PATIENCE_SECONDS)
    return time.perf_counter() - began
