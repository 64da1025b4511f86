"""A contest: contestants measured in turn, round by round, and what the figures of a round come to.

Machines change their pace from second to second, and a ratio of two figures that were taken far apart is about the
machine. So a round measures every contestant once, one after the other, the next round begins with another one, and a
line of the report is computed within a round. The first round is for warming up and is thrown away.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Figures = Mapping[str, float]
"""What one round found: a figure by contestant, or by ``"contestant: detail"`` where one has several."""
Measure = Callable[[], float | Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a value is allowed to be."""

    text: str
    limit: float
    allows: Callable[[float], bool]


def at_most(limit: float) -> Budget:
    """Up to ``limit``."""
    return Budget(text=f"<= {limit:.2f}", limit=limit, allows=lambda value: value <= limit)


def at_least(limit: float) -> Budget:
    """From ``limit`` on."""
    return Budget(text=f">= {limit:.2f}", limit=limit, allows=lambda value: value >= limit)


def exactly(wanted: float) -> Budget:
    """This number, and no other that two decimals can distinguish from it."""
    return Budget(text=f"= {wanted:.2f}", limit=wanted, allows=lambda value: abs(value - wanted) < 0.005)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One value that the figures of a round come to; without a budget it is for information."""

    title: str
    value: Callable[[Figures], float]
    unit: str = "x"
    budget: Budget | None = None


def ratio(ours: str, theirs: str, *, title: str | None = None, budget: Budget | None = None) -> Line:
    """The figure of one contestant divided by that of another."""
    return Line(
        title=title or f"{ours} / {theirs}", value=lambda figures: figures[ours] / figures[theirs], budget=budget
    )


def value(name: str, *, unit: str, budget: Budget | None = None) -> Line:
    """A figure that is its own budget's measure."""
    return Line(title=name, value=lambda figures: figures[name], unit=unit, budget=budget)


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Who is measured, in what unit, what is compared; ``settle`` lets what one has left undone end before the next.

    ``most_rounds`` is for figures that are counted and not timed: more rounds find the same. ``weight`` is the share of
    time that the contest gets: one with many contestants needs more of it for as many rounds.
    """

    title: str
    unit: str
    contestants: Mapping[str, Measure]
    lines: Sequence[Line]
    notes: Sequence[str] = ()
    settle: Callable[[], None] = _nothing
    most_rounds: int | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, and how far they range."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A line and what the rounds come to."""

    line: Line
    values: Spread

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the budget; None where there is none."""
        return self.line.budget and self.line.budget.allows(self.values.median)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a contest found; ``failure`` says what came in its way, if anything did."""

    name: str
    title: str
    unit: str
    lines: Sequence[Line] = ()
    notes: Sequence[str] = ()
    rounds: Sequence[Figures] = field(default=())
    seconds: float = 0.0
    failure: str | None = None

    def figures(self) -> Mapping[str, Spread]:
        """What each contestant did, but for what is a line of its own."""
        lines = {line.title for line in self.lines}
        names = [name for name in (self.rounds[0] if self.rounds else ()) if name not in lines]
        return {name: spread([figures[name] for figures in self.rounds]) for name in names}

    def compared(self) -> Sequence[Compared]:
        """What the rounds come to, line by line."""
        if not self.rounds:
            return []
        return [
            Compared(line=line, values=spread([line.value(figures) for figures in self.rounds])) for line in self.lines
        ]


def spread(values: Sequence[float]) -> Spread:
    """Median and range."""
    return Spread(statistics.median(values), min(values), max(values))


def hold(name: str, contest: Contest, *, rounds: int, seconds: float) -> Result:
    """Let the contestants compete: so many rounds, less where the next one would begin after so many seconds."""
    began = time.monotonic()
    order = list(contest.contestants)
    _round(contest, order)
    played: list[Figures] = []
    for number in range(min(rounds, contest.most_rounds or rounds)):
        if played and time.monotonic() - began > seconds * contest.weight:
            break
        turn = number % len(order)
        found = _round(contest, order[turn:] + order[:turn])
        played.append({key: found[key] for key in sorted(found, key=_position(order))})
    return Result(
        name=name,
        title=contest.title,
        unit=contest.unit,
        lines=contest.lines,
        notes=contest.notes,
        rounds=played,
        seconds=time.monotonic() - began,
    )


def _round(contest: Contest, order: Sequence[str]) -> Figures:
    found: dict[str, float] = {}
    for name in order:
        gc.collect()
        measured = contest.contestants[name]()
        contest.settle()
        if isinstance(measured, Mapping):
            found.update({f"{name}: {detail}": figure for detail, figure in measured.items()})
        else:
            found[name] = measured
    return found


def _position(order: Sequence[str]) -> Callable[[str], int]:
    # Details keep the order in which they were given: sorting is stable.
    return lambda key: order.index(key.partition(": ")[0])
