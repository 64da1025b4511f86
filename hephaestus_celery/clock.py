"""Time and chance as ports: all that reads a clock or needs a random number takes those of its runtime.

:data:`SYSTEM_CLOCK` and :data:`SYSTEM_CHANCE` are those of the operating system, and this is the only module that asks it.
"""

from __future__ import annotations

import secrets
import time
from typing import Protocol

_ELAPSED: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_GENERATOR = secrets.SystemRandom()


class Clock(Protocol):
    """Where time comes from. Nanoseconds are ints, seconds floats."""

    def time_ns(self) -> int:
        """The wall clock, in nanoseconds since 1970; it may jump."""
        ...

    def monotonic_ns(self) -> int:
        """A clock that never goes back, in nanoseconds; only differences within one process mean something."""
        ...

    def elapsed_ns(self) -> int:
        """As :meth:`monotonic_ns`, and it goes on while the machine sleeps, where the system has such a clock (Linux)."""
        ...

    def sleep(self, seconds: float) -> None:
        """Pause this thread; only to wait for another process that can't say when it is ready."""
        ...


class Chance(Protocol):
    """Where everything comes from that must differ each time."""

    def fraction(self) -> float:
        """A number from 0 (included) to 1 (excluded), all of them alike: for jitter."""
        ...

    def bits(self, count: int) -> int:
        """An int of so many random bits: for ids."""
        ...

    def token(self) -> str:
        """16 hexadecimal digits that nobody else has: fences, operations, references."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def time_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def elapsed_ns(self) -> int:
        return time.monotonic_ns() if _ELAPSED is None else time.clock_gettime_ns(_ELAPSED)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemChance:
    """The chance of the operating system: no two processes have the same, forked ones included."""

    def fraction(self) -> float:
        return _GENERATOR.random()

    def bits(self, count: int) -> int:
        return secrets.randbits(count)

    def token(self) -> str:
        return secrets.token_hex(8)


SYSTEM_CLOCK: Clock = SystemClock()
SYSTEM_CHANCE: Chance = SystemChance()
