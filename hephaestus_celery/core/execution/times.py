"""The time of a transition, and the durations that it goes by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """``now`` and the deadlines that transitions set, all in microseconds.

    ``now`` is the time that users see; it may jump when the clock is set. Timers go by ``steady``, a clock of the store that
    always goes on evenly. Until a clock was set, both are the same.
    """

    now: int
    dispatch_timeout: int
    lease: int
    steady: int | None = None

    @property
    def moment(self) -> int:
        """Now, on the clock that timers go by."""
        return self.now if self.steady is None else self.steady

    @property
    def apart(self) -> int | None:
        """Now on that clock; None if it agrees with ``now``."""
        return None if self.moment == self.now else self.moment

    def lease_end(self, deadline: int | None) -> int:
        """When the lease expires, or when the time limit ends if that comes first."""
        end = self.moment + self.lease
        return end if deadline is None else min(end, deadline)
