"""Lanes in a transaction: which messages wait in a queue, and the looks at it.

The same as in ``redis/lua/tick.lua``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hephaestus_celery.core.execution.commands import last_message
from hephaestus_celery.core.execution.lanes import redispatch_interval
from hephaestus_celery.core.execution.limits import PIECE, PIECE_PAUSE, PIECE_SHARE
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.due import LaneReport, Outstanding

Member = tuple[str, str]


@dataclass(slots=True)
class _Lane:
    """``passed`` is the mark as it was at least half a dispatch timeout ago, ``coming`` as it was at ``since``, to be that."""

    due: int
    sent: dict[Member, int] = field(default_factory=dict[Member, int])
    mark: int | None = None
    last: int | None = None
    passed: int | None = None
    coming: int | None = None
    since: int | None = None
    rounds: int = 0
    offset: int = 0


class Lanes:
    """Not locked: its storage is."""

    def __init__(self, *, timeout: int) -> None:
        self._timeout = timeout
        self._lanes: dict[str, _Lane] = {}

    def enter(self, name: str, member: Member, at: int) -> None:
        """A message for a step was sent to this lane."""
        lane = self._lanes.setdefault(name, _Lane(at + self._timeout))
        lane.sent[member] = at

    def leave(self, name: str, member: Member) -> None:
        """It waits no more."""
        if name in self._lanes:
            self._lanes[name].sent.pop(member, None)

    def leave_all(self, run_id: str) -> None:
        """Nothing of a run waits any more."""
        for lane in self._lanes.values():
            for member in [member for member in lane.sent if member[0] == run_id]:
                del lane.sent[member]

    def move(self, name: str, mark: int) -> None:
        """What was sent to the lane at ``mark`` was claimed."""
        if name in self._lanes:
            lane = self._lanes[name]
            lane.mark = max(mark, lane.mark or 0)

    def go_on(self, name: str, *, after: int, now: int) -> None:
        """So many of a lane were sent again: a look that has not come to the end goes on at once, from where these stood."""
        lane = self._lanes.get(name)
        if lane is None or not after:
            return
        lane.rounds = 0
        if lane.offset > 0:
            lane.offset = max(0, lane.offset - after)
            lane.due = now

    def count(self, name: str) -> int:
        """How many wait there."""
        return len(self._lanes[name].sent) if name in self._lanes else 0

    def soonest(self) -> int | None:
        """When the next lane is to be looked at."""
        return min((lane.due for lane in self._lanes.values()), default=None)

    def members(self, run_id: str) -> dict[str, str]:
        """The lane of each step of a run that waits in one."""
        return {key: name for name, lane in self._lanes.items() for owner, key in lane.sent if owner == run_id}

    def look(self, now: int, find: Callable[[Member], tuple[str, int, StepState] | None]) -> list[LaneReport]:
        """Look at the lanes whose time has come; ``find`` gives name, version and step of what waits for a claim."""
        reports: list[LaneReport] = []
        for name, lane in list(self._lanes.items()):
            if lane.due > now:
                continue
            if not lane.sent:
                del self._lanes[name]
                continue
            report = self._look(name, lane, now, find)
            if report.outstanding:
                reports.append(report)
        return reports

    def _look(
        self, name: str, lane: _Lane, now: int, find: Callable[[Member], tuple[str, int, StepState] | None]
    ) -> LaneReport:
        first = min(lane.sent.values())
        moves = lane.mark is not None and lane.mark != lane.last
        lane.last = lane.mark
        half = self._timeout / 2
        if lane.since is None or now - lane.since >= half:
            lane.passed, lane.coming, lane.since = lane.coming, lane.mark, now
        found: list[Outstanding] = []
        if first + self._timeout > now:
            lane.rounds = lane.offset = 0
            lane.due = first + self._timeout
        elif moves and not (lane.passed is not None and first <= lane.passed):
            lane.rounds = lane.offset = 0
            lane.due = now + int(half)
        else:
            found, more = self._look_through(lane, now, find)
            if more:
                lane.due = now + int(min(half / PIECE_SHARE, PIECE_PAUSE))
            else:
                lane.due = now + int(half * 2**lane.rounds)
                lane.rounds, lane.offset = min(lane.rounds + 1, 2), 0
        return LaneReport(lane=name, moves=moves, outstanding=found)

    def _look_through(
        self, lane: _Lane, now: int, find: Callable[[Member], tuple[str, int, StepState] | None]
    ) -> tuple[list[Outstanding], bool]:
        found: list[Outstanding] = []
        piece = sorted(lane.sent.items(), key=lambda item: (item[1], item[0]))[lane.offset : lane.offset + PIECE]
        for member, at in piece:
            if at + self._timeout > now:
                return found, False
            waiting = find(member)
            if waiting is None:
                del lane.sent[member]
                continue
            lane.offset += 1
            workflow, version, step = waiting
            if step.sent + redispatch_interval(sent=step.sent, resends=step.resends, timeout=self._timeout) <= now:
                found.append(
                    Outstanding(
                        run_id=member[0],
                        name=workflow,
                        version=version,
                        dispatch=last_message(Activation.parse(member[1]), step),
                        passed=lane.passed is not None and at <= lane.passed,
                    )
                )
        return found, len(piece) == PIECE
