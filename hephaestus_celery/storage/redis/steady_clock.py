"""The steady clock of leases and timers: it goes on evenly when the clock of the server is set.

It is the server's ``TIME`` plus an offset that the partition keeps. When ``TIME`` is set, the active scheduler notices by its
own monotonic clock and corrects the offset. Every other process notices too, and uses its own clock until then. So no time is
taken from a wrong clock by a process that has read it before. A first reading far beyond the last tick may mean that the clock
was just set, or that no scheduler is at work; it is used, and checked again soon.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hephaestus_celery.clock import SYSTEM_CLOCK, Clock
from hephaestus_celery.core.execution.limits import STEP

LOCK_SECONDS = 3.0
"""A scheduler whose beat has not moved for this time counts as lost."""
_FRESH = 60_000_000  # microseconds for which a reading is valid: clocks drift
_UNSURE_FRESH = 500_000  # the same while the server's clock does not agree with ours, or no scheduler has confirmed it
_LONGEST_UNSURE = 10_000_000  # microseconds after which no scheduler is expected any more to correct or confirm it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A reading of the server: its time, the offset, and the steady clock at the last tick of a scheduler."""

    time: int
    offset: int
    beat: int | None


@dataclass(frozen=True, slots=True)
class _Known:
    at: int  # on this process's own clock
    steady: int
    offset: int
    reset_since: int | None = None
    doubted_since: int | None = None

    @property
    def is_sure(self) -> bool:
        return self.reset_since is None and self.doubted_since is None


class SteadyClock:
    """Follows the steady clock of a partition by this process's own clock; calls ``read`` once a minute.

    A forked process keeps its parent's reading: all processes of a machine share one monotonic clock.
    """

    def __init__(self, read: Callable[[], Reading], *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._read, self._clock = read, clock
        self._known: _Known | None = None

    def now(self) -> tuple[int, int]:
        """The steady clock (behind by at most one round trip, never ahead), and the offset of the server's clock from it.

        Raises what ``read`` raises.
        """
        return self._told_by(self._fresh() or self.look())

    async def now_by(self, read: Callable[[], Awaitable[Reading]]) -> tuple[int, int]:
        """As :meth:`now`, for a caller that awaits its readings."""
        return self._told_by(self._fresh() or await self.look_by(read))

    def _fresh(self) -> _Known | None:
        known = self._known
        if known is None or self._own() - known.at > (_FRESH if known.is_sure else _UNSURE_FRESH):
            return None
        return known

    def _told_by(self, known: _Known) -> tuple[int, int]:
        return known.steady + self._own() - known.at, known.offset

    @property
    def is_reset(self) -> bool:
        """Whether the server's clock was found to have been set, and the offset is not corrected yet."""
        known = self._known
        return known is not None and known.reset_since is not None

    def learn(self, *, steady: int, offset: int) -> None:
        """Take the reading that a tick has just brought."""
        self._known = _Known(self._own(), steady, offset)

    def look(self) -> _Known:
        """Read the server's clock, and use it unless it has been set."""
        before, known = self._own(), self._known
        return self._take(self._read(), before=before, known=known)

    async def look_by(self, read: Callable[[], Awaitable[Reading]]) -> _Known:
        """As :meth:`look`, for a caller that awaits its readings."""
        before, known = self._own(), self._known
        return self._take(await read(), before=before, known=known)

    def _take(self, reading: Reading, *, before: int, known: _Known | None) -> _Known:
        after = self._own()
        steady = reading.time + reading.offset
        if self._believable(known, steady, after=after, slack=STEP + after - before, beat=reading.beat):
            found = _Known(after, steady, reading.offset, doubted_since=_doubted_since(known, reading, after=after))
        else:
            mine = max(reading.beat or 0, steady) if known is None else known.steady + after - known.at
            since = after if known is None or known.reset_since is None else known.reset_since
            found = _Known(after, mine, mine - reading.time, since)
        self._known = found
        return found

    def _believable(self, known: _Known | None, steady: int, *, after: int, slack: int, beat: int | None) -> bool:
        if beat is not None and _is_near(beat, steady):
            return True  # a scheduler has just corrected the offset
        if known is None:
            return beat is None or steady >= beat
        if known.reset_since is not None and after - known.reset_since > _LONGEST_UNSURE:
            return True
        return abs(steady - known.steady - after + known.at) <= slack

    def _own(self) -> int:
        return self._clock.elapsed_ns() // 1000


def _doubted_since(known: _Known | None, reading: Reading, *, after: int) -> int | None:
    """Since when a process uses what it has read first, and no tick of a scheduler has confirmed; None where all is sure."""
    if reading.beat is None or _is_near(reading.beat, reading.time + reading.offset):
        return None
    since = after if known is None else known.doubted_since
    return None if since is None or after - since > _LONGEST_UNSURE else since


def _is_near(beat: int, steady: int) -> bool:
    """Whether a scheduler has ticked within the last seconds of this time."""
    return 0 <= steady - beat + STEP <= LOCK_SECONDS * 1e6 + STEP
