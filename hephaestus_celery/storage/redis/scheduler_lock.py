"""What a scheduler knows of the seat of a partition: whether it has it, or who has stands still, and what it was handed."""

from __future__ import annotations

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.storage.redis.steady_clock import SEAT_SECONDS


class Seat:
    """The view that one scheduler has of a partition's seat.

    A server's clock can't tell whether whoever has the seat is gone: it may have been set. So the others look whether the
    beat of the seat moves, each by its own clock.
    """

    def __init__(self) -> None:
        self.acknowledged = ""
        """The last operation whose answer was had."""
        self._beat: str | None = None
        self._since = 0

    @property
    def stands_still(self) -> str | None:
        """The beat at which another's seat has stood still for too long."""
        if self._beat is None or SYSTEM_CLOCK.elapsed_ns() - self._since < SEAT_SECONDS * 1e9:
            return None
        return self._beat

    def have(self, operation: str) -> None:
        """This scheduler has it, and has had what this operation handed over."""
        self.acknowledged, self._beat = operation, None

    def see(self, beat: str) -> None:
        """Another has it, with this beat."""
        if beat != self._beat:
            self._beat, self._since = beat, SYSTEM_CLOCK.elapsed_ns()

    def lose_sight(self) -> None:
        """The store was away: whoever has the seat could not move either."""
        self._beat = None
