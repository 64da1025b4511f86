"""How long a thread stands still, whatever else the machine does meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self


class Stillness:
    """The ``seconds`` of a block in which its thread waited for something: it neither worked nor was in line for a processor.

    A busy machine makes any block longer, and hardly this: where the system does not say how long a thread was in line
    (Linux does), it is all but its work.
    """

    def __enter__(self) -> Self:
        self._began = stillness()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = stillness() - self._began


def stillness() -> float:
    """How long this thread has waited so since some moment of the past."""
    return time.monotonic() - time.thread_time() - _in_line()


def _in_line() -> float:
    try:
        _, nanoseconds, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return 0.0
    return int(nanoseconds) / 1e9
