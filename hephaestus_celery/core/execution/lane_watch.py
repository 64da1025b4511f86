"""How a lane is watched: when it is looked at, what may be lost in it, and when the next look comes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hephaestus_celery.core.execution.limits import MOST_ROUNDS, PIECE_PAUSE, PIECE_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneWatch:
    """How the messages of a lane are watched; times are microseconds on the clock that timers go by.

    ``due`` is when the lane is looked at next; None if nothing was ever sent to it. ``mark`` is the time of sending of the
    newest claimed message, and ``last`` the mark that the last look saw. ``passed`` is the mark of at least half a dispatch
    timeout ago. ``coming`` is the mark at ``since``, which becomes ``passed`` next. ``rounds`` counts the looks that went
    through the whole lane; ``offset`` is how many of its messages the present look has passed.
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
        """The message that was sent to the lane at ``mark`` was claimed."""
        return self if self.mark is not None and self.mark >= mark else replace(self, mark=mark)

    def resumed(self, *, after: int, now: int) -> LaneWatch:
        """Messages were sent again, ``after`` of them: an unfinished look goes on at once, from their old place."""
        if not self.offset:
            return replace(self, rounds=0)
        return replace(self, rounds=0, offset=max(0, self.offset - after), due=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The begin of a look. ``moves``: a message was claimed since the last look. ``through``: go through the messages."""

    watch: LaneWatch
    moves: bool
    through: bool


def begin_look(watch: LaneWatch, *, first: int, now: int, timeout: int) -> Look:
    """Look at a lane whose oldest message was sent at ``first``.

    That message may be lost if the lane has passed it, by the mark of an earlier look: since then, workers have had time to
    report what they hold. It may also be lost if nobody claims from the lane.
    """
    moves = watch.mark is not None and watch.mark != watch.last
    watch = replace(watch, last=watch.mark)
    if watch.since is None or now - watch.since >= timeout / 2:
        watch = replace(watch, passed=watch.coming, coming=watch.mark, since=now)
    if first + timeout > now:
        return Look(watch=replace(watch, rounds=0, offset=0, due=first + timeout), moves=moves, through=False)
    if moves and not (watch.passed is not None and first < watch.passed):
        return Look(watch=replace(watch, rounds=0, offset=0, due=now + timeout // 2), moves=moves, through=False)
    return Look(watch=watch, moves=moves, through=True)


def end_look(watch: LaneWatch, *, kept: int, more: bool, now: int, timeout: int) -> LaneWatch:
    """A look went through a piece of the lane; ``kept`` of its messages still wait. ``more``: another piece follows."""
    if more:
        pause = min(timeout / 2 / PIECE_SHARE, PIECE_PAUSE)
        return replace(watch, offset=watch.offset + kept, due=now + int(pause))
    return replace(
        watch, offset=0, rounds=min(watch.rounds + 1, MOST_ROUNDS), due=now + int(timeout / 2 * 2**watch.rounds)
    )
