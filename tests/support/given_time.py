"""A clock and a chance of a test's own: time passes when it says so, and the same seed draws the same."""

from __future__ import annotations

import random


class GivenClock:
    """All of its clocks begin at one moment, and go on only by :meth:`sleep`."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        self.now_ns = now_ns

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def elapsed_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


class GivenChance:
    """Draws from a seed."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def fraction(self) -> float:
        return self._random.random()

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)

    def token(self) -> str:
        return f"{self._random.getrandbits(64):016x}"
