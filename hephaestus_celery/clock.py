"""The only caller of ``time.*``."""

from __future__ import annotations

import time


def system_time_ns() -> int:
    """Wall clock of this process, in nanoseconds since 1970; it may jump."""
    return time.time_ns()


def monotonic_ns() -> int:
    """A clock that never goes back, in nanoseconds; only differences within one process mean something."""
    return time.monotonic_ns()


def sleep(seconds: float) -> None:
    """Rest; only where another process is waited for that can't tell when it is ready."""
    time.sleep(seconds)
