"""The time of a transition, and the durations that it goes by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """``now`` and the deadlines that transitions set, all in microseconds.

    ``now`` is the time that users see, and may step. What comes due goes by ``steady``, a clock of the store that goes on
    evenly whatever is done to the other; the same as ``now`` where nothing was.
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
        """Now on that clock, where it says something else than ``now``."""
        return None if self.moment == self.now else self.moment

    def lease_end(self, deadline: int | None) -> int:
        """When the lease is to be renewed by: at its end, or that of the time limit where that comes first."""
        end = self.moment + self.lease
        return end if deadline is None else min(end, deadline)
