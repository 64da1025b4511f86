"""Decides which late messages are lost and sent again; a backlog is not a loss.

The store reports the late messages of a lane, and which of them the lane has *passed*: a message that was sent later has
been claimed. A message that a living worker holds is only late. Of the others, those that were passed are lost; where the
queue is empty, all of them are. The length of the queue says how many are missing, and no more than these are sent again.
A few more are sent at growing intervals: others may put messages into the same queue, and a worker that stops may put
messages back at its end.

If a queue is full of others' messages and none of ours is claimed, no message is ever passed. Then one of ours is sent
again, at growing intervals. When that is claimed, the messages before it are passed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from hephaestus_celery.clock import SYSTEM_CLOCK, Clock
from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.runners.fleet import BrokerAwayError, Fleet, Holdings
from hephaestus_celery.storage.due import LaneReport, Outstanding
from hephaestus_celery.storage.port import Storage

logger = logging.getLogger("hephaestus_celery")

FEW = 10
"""How many passed messages are sent again at a time where the queue shows none as missing."""
_SETTLED = 1.0  # seconds, at least, that a busy worker gets to report what it has taken
_GROWTH = 64  # the longest growing interval, in dispatch timeouts


def report_interval(dispatch_timeout: timedelta) -> float:
    """Seconds between two reports of a worker: it reports three times before a passed message may count as lost."""
    return max(0.05, min(10.0, dispatch_timeout.total_seconds() / 6))


@dataclass(slots=True)
class _GrowingInterval:
    """An action that is allowed at growing intervals; times are seconds."""

    due: float = 0.0
    interval: float = 0.0

    def is_due(self, now: float, *, first: float) -> bool:
        if now < self.due:
            return False
        # After a long time without a call, the interval starts again from the first.
        fresh = self.interval == 0.0 or now > self.due + 4 * self.interval
        self.interval = first if fresh else min(2 * self.interval, _GROWTH * first)
        self.due = now + self.interval
        return True


@dataclass(slots=True)
class _LaneMemory:
    """The memory of a lane.

    ``unconfirmed`` is a report that was made while the queue was empty, and the time from which it counts. ``losing``: some
    messages were lost, so more may be; until that time every passed message counts as lost at once.
    """

    few: _GrowingInterval = field(default_factory=_GrowingInterval)
    probing: _GrowingInterval = field(default_factory=_GrowingInterval)
    unconfirmed: tuple[float, LaneReport] | None = None
    losing: float = 0.0
    still: bool = False  # at the last check no message had moved, and some were missing
    unattended: bool = False


class LostMessageWatch:
    """Judges the reports on the lanes of one partition. If its memory is lost, it only checks a little more often."""

    def __init__(self, fleet: Fleet, *, dispatch_timeout: timedelta, clock: Clock = SYSTEM_CLOCK) -> None:
        self._fleet = fleet
        self._clock = clock
        self._timeout = dispatch_timeout.total_seconds()
        self._settled_in = max(_SETTLED, 2 * report_interval(dispatch_timeout))
        self._known: dict[str, _LaneMemory] = {}

    def lost(self, report: LaneReport, storage: Storage) -> Sequence[Outstanding]:
        """The lost messages among those of a report."""
        try:
            return self._lost(report, storage, self._clock.monotonic_ns() / 1e9)
        except BrokerAwayError as error:
            logger.debug("the number of messages in %s can't be known now: %s", report.lane, error)
            return ()

    def unconfirmed(self) -> list[LaneReport]:
        """Reports that can be judged again now."""
        now = self._clock.monotonic_ns() / 1e9
        return [
            known.unconfirmed[1]
            for known in self._known.values()
            if known.unconfirmed is not None and known.unconfirmed[0] <= now
        ]

    def next_in(self) -> float | None:
        """Seconds until the next report is to be judged again; None where there is none."""
        times = [known.unconfirmed[0] for known in self._known.values() if known.unconfirmed is not None]
        return max(0.0, min(times) - self._clock.monotonic_ns() / 1e9) if times else None

    def _lost(self, report: LaneReport, storage: Storage, now: float) -> Sequence[Outstanding]:
        known = self._known.setdefault(report.lane, _LaneMemory())
        doubted, known.unconfirmed = known.unconfirmed, None
        lane = Lane.parse(report.lane)
        holdings = self._fleet.holdings(storage)
        free = [message for message in report.outstanding if not any(each.may_hold(message) for each in holdings)]
        length = self._fleet.length(lane) if free else None
        if length is None:  # the length is unknown, so late messages count as lost
            return free
        attended = any(lane.queue in each.queues for each in holdings)
        passed = [message for message in free if message.passed]
        if length == 0 and passed and now < known.losing:
            known.losing = now + self._settled_in
            return passed
        if length == 0:
            return self._of_empty(known, report, free, doubted, now=now)
        counted = [str(each) for each in self._fleet.counted(lane)]
        held = sum(each.counts.get(name, 0) for each in holdings for name in counted)
        missing = storage.outstanding(*counted) - length - held
        if passed:
            few = FEW if missing < len(passed) and known.few.is_due(now, first=self._timeout) else 0
            return passed[: max(missing, few)]
        self._note_unattended(known, lane, length, unattended=not attended and not report.moves)
        # This must hold twice in a row: a worker may just have taken messages, and not reported them yet.
        still, known.still = known.still, attended and not report.moves and missing != 0
        probes = still and known.still and known.probing.is_due(now, first=self._timeout)
        return free[:1] if probes else ()

    def _of_empty(
        self,
        known: _LaneMemory,
        report: LaneReport,
        free: Sequence[Outstanding],
        doubted: tuple[float, LaneReport] | None,
        *,
        now: float,
    ) -> Sequence[Outstanding]:
        # A worker may just have taken the last messages, and not have reported yet. It gets time to do so.
        if doubted is not None and doubted[0] <= now:
            known.losing = now + 2 * self._timeout + self._settled_in
            return free
        known.unconfirmed = doubted or (now + self._settled_in, report)
        return ()

    def _note_unattended(self, known: _LaneMemory, lane: Lane, length: int, *, unattended: bool) -> None:
        if unattended and not known.unattended:
            logger.warning(
                "%d message(s) wait in queue %s (priority %d), and no worker reports that it takes from it: start one "
                "with -Q %s; nothing is lost",
                length,
                lane.queue,
                lane.priority,
                lane.queue,
            )
        known.unattended = unattended


def all_holdings(storage: Storage) -> list[Holdings]:
    """The reports of living workers."""
    return [Holdings.decode(text) for text in storage.reports()]
