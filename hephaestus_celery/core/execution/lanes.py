"""Lanes: messages wait by queue and priority, so that a lost one can be distinguished from a waiting one.

A lane is a queue and a priority: what was sent there is taken in the order of sending, but for what workers hold that have
taken it ahead. So a message is not lost for being old. It may be when one that was sent later was claimed (the lane has
come past it), or when its queue is empty; and it is when then no living worker holds it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hephaestus_celery.core.execution.limits import (
    JITTER_FROM,
    JITTER_SPAN,
    JITTER_STEPS,
    LONGEST_FACTOR,
    PIECE_PAUSE,
    PIECE_SHARE,
)

_MOST_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Lane:
    """A queue and a priority; ``str`` of it names the lane in the store."""

    queue: str
    priority: int = 0

    def __str__(self) -> str:
        return f"{self.priority}:{self.queue}"

    @classmethod
    def parse(cls, name: str) -> Lane:
        """The lane of this name."""
        priority, _, queue = name.partition(":")
        return cls(queue, int(priority))


def redispatch_interval(*, sent: int, resends: int, timeout: int) -> int:
    """Microseconds that a message sent at ``sent`` is given before it is looked for.

    The first is given ``timeout``, each further one twice as much, up to eight times, give or take a quarter: at even
    intervals a broker may give it to the same worker each time, which may not know the workflow.
    """
    if resends == 0:
        return timeout
    jitter = JITTER_FROM + (sent % JITTER_STEPS) / JITTER_STEPS * JITTER_SPAN
    return int(timeout * min(2**resends, LONGEST_FACTOR) * jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneWatch:
    """How the messages of a lane are watched; times are microseconds on the clock that timers go by.

    ``due`` is when the lane is looked at next, None where nothing was ever sent to it. ``mark`` is when the newest message
    was sent that was claimed from it, ``last`` the mark as the last look has seen it. ``passed`` is the mark as it was at
    least half a dispatch timeout ago, ``coming`` as it was at ``since``, to be that. ``rounds`` counts the looks that went
    through all of it, ``offset`` how many of its messages the present one has come past.
    """

    due: int | None = None
    mark: int | None = None
    last: int | None = None
    passed: int | None = None
    coming: int | None = None
    since: int | None = None
    rounds: int = 0
    offset: int = 0

    def entered(self, at: int, *, timeout: int) -> LaneWatch:
        """A message was sent to the lane at ``at``."""
        return replace(self, due=at + timeout) if self.due is None else self

    def moved(self, mark: int) -> LaneWatch:
        """What was sent to the lane at ``mark`` was claimed."""
        return self if self.mark is not None and self.mark >= mark else replace(self, mark=mark)

    def resumed(self, *, after: int, now: int) -> LaneWatch:
        """So many were sent again: a look that has not come to the end goes on at once, from where these stood."""
        if not self.offset:
            return replace(self, rounds=0)
        return replace(self, rounds=0, offset=max(0, self.offset - after), due=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look at a lane begins. ``moves``: something was claimed since the last; ``through``: its messages are looked at."""

    watch: LaneWatch
    moves: bool
    through: bool


def begin_look(watch: LaneWatch, *, first: int, now: int, timeout: int) -> Look:
    """Look at a lane whose oldest message was sent at ``first``.

    It may be lost where the lane has come past it, up to the mark that an earlier look has seen: workers have had the time
    to report what they hold. So it may be where nobody claims from the lane.
    """
    moves = watch.mark is not None and watch.mark != watch.last
    watch = replace(watch, last=watch.mark)
    if watch.since is None or now - watch.since >= timeout / 2:
        watch = replace(watch, passed=watch.coming, coming=watch.mark, since=now)
    if first + timeout > now:
        return Look(watch=replace(watch, rounds=0, offset=0, due=first + timeout), moves=moves, through=False)
    if moves and not (watch.passed is not None and first <= watch.passed):
        return Look(watch=replace(watch, rounds=0, offset=0, due=now + timeout // 2), moves=moves, through=False)
    return Look(watch=watch, moves=moves, through=True)


def end_look(watch: LaneWatch, *, kept: int, more: bool, now: int, timeout: int) -> LaneWatch:
    """A piece of the lane was gone through, of which so many messages still wait; ``more``: it was not the last."""
    if more:
        pause = min(timeout / 2 / PIECE_SHARE, PIECE_PAUSE)
        return replace(watch, offset=watch.offset + kept, due=now + int(pause))
    return replace(
        watch, offset=0, rounds=min(watch.rounds + 1, _MOST_ROUNDS), due=now + int(timeout / 2 * 2**watch.rounds)
    )
