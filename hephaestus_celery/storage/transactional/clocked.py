"""A store over transactions and its clock: what all of its calls have, whatever they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance, Clock
from hephaestus_celery.core.execution.limits import STEP
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.transactional.transaction import Transaction


class Clocked(ABC):
    """Begins transactions, and gives them the time that users see and the time that timers go by."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, chance: Chance = SYSTEM_CHANCE) -> None:
        self._clock, self._chance = clock, chance
        self._known_due: int | None = None
        self._ahead, self._offset = self.now() - self._clock.elapsed_ns() // 1000, 0

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction: all of its changes are saved, or none, and no other call sees only a part of them."""

    def now(self) -> int:
        return self._clock.time_ns() // 1000

    def _times_by(self, durations: Durations) -> Times:
        return self._times(lease=durations.lease, dispatch_timeout=durations.dispatch_timeout)

    def _times(self, *, lease: int = 0, dispatch_timeout: int = 0) -> Times:
        # The time that users see, and the time that timers go by: the latter goes on evenly when the wall clock is set.
        now = self.now()
        ahead = now - self._clock.elapsed_ns() // 1000
        if abs(ahead - self._ahead) > STEP:
            self._offset -= ahead - self._ahead
        self._ahead = ahead
        return Times(now=now, dispatch_timeout=dispatch_timeout, lease=lease, steady=now + self._offset)
