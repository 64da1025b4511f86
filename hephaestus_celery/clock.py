"""The only caller of ``time.*``."""

from __future__ import annotations

import time

_ELAPSED: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def system_time_ns() -> int:
    """Wall clock of this process, in nanoseconds since 1970; it may jump."""
    return time.time_ns()


def monotonic_ns() -> int:
    """A clock that never goes back, in nanoseconds; only differences within one process mean something."""
    return time.monotonic_ns()


def elapsed_ns() -> int:
    """As :func:`monotonic_ns`, and it goes on while the machine sleeps, where the system has such a clock (Linux)."""
    return time.monotonic_ns() if _ELAPSED is None else time.clock_gettime_ns(_ELAPSED)


def sleep(seconds: float) -> None:
    """Rest; only where another process is waited for that can't tell when it is ready."""
    time.sleep(seconds)
