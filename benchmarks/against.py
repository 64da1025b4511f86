"""Before and after: two checkouts of this project, measured in turn on one machine, and the ratio of each figure.

Each side has a process of its own with its own client, and a server and a worker of the same kind and settings: a server
that both used would show each the other's commands and memory. A round measures one contestant on one side and at once on
the other, and the next round begins with the other side. A ratio is that of two figures of one round, turned so that more
than 1 is worse: more time, more commands, fewer steps a second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import side
from benchmarks.contest import Spread, spread
from benchmarks.report import number
from benchmarks.scale import Scale
from benchmarks.worker import ROOT

ALLOWED = 1.03
"""How much worse than before a figure may be."""
_END_SECONDS = 60.0


class FailedError(Exception):
    """A side could not do what it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One figure of both sides; ``ratios`` are those of the rounds."""

    name: str
    unit: str
    before: Spread
    after: Spread
    ratio: Spread

    @property
    def is_worse(self) -> bool:
        """Whether it is worse than what is allowed."""
        return self.ratio.median > ALLOWED


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The figures of a row; ``failure`` says why there are none."""

    name: str
    title: str = ""
    rounds: int = 0
    seconds: float = 0.0
    figures: Sequence[Compared] = ()
    failure: str | None = None


def compare(other: Path, rows: Sequence[str], scale: Scale, *, output: Path) -> int:
    """Compare this checkout with another, the one before; gives how many rows are worse or could not be measured."""
    print(f"before: {_describe(other)}\nafter: {_describe(ROOT)}\n", flush=True)
    found: list[Row] = []
    with _Side.started(other, scale) as before, _Side.started(ROOT, scale) as after:
        for name in rows:
            found.append(_row(name, before, after, scale))
            print(as_text(found[-1]), end="\n\n", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    (output / "against.json").write_text(json.dumps([dataclasses.asdict(row) for row in found], indent=2))
    worse = [row.name for row in found if row.failure is not None or any(each.is_worse for each in row.figures)]
    print(f"{len(found) - len(worse)} of {len(found)} rows are at most {ALLOWED} x what they were.")
    if worse:
        print(f"Worse, or not measured: {', '.join(worse)}.")
    print(f"Written to {output / 'against.json'}")
    return len(worse)


def as_text(row: Row) -> str:
    """One row as a block of lines."""
    lines = [f"{row.name}: {row.title} [{row.rounds} rounds, {row.seconds:.0f} s]"]
    if row.failure is not None:
        return f"{row.name}\n  FAILED: {row.failure}"
    for found in row.figures:
        values = f"{number(found.before.median):>8} -> {number(found.after.median):<8} {found.unit:9}"
        spread_of = f"{found.ratio.low:.3f} .. {found.ratio.high:.3f}"
        verdict = "  WORSE" if found.is_worse else ""
        lines.append(f"  {found.name:34} {values} {found.ratio.median:6.3f} x  ({spread_of}){verdict}")
    return "\n".join(lines)


def _row(name: str, before: _Side, after: _Side, scale: Scale) -> Row:
    began = time.monotonic()
    try:
        contest = before.ask(open=name)
        names = [each for each in after.ask(open=name)["contestants"] if each in contest["contestants"]]
        _round(names, [before, after])  # for warming up
        rounds: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
        for turn in range(min(scale.rounds, contest["most_rounds"] or scale.rounds)):
            if rounds and time.monotonic() - began > scale.seconds:
                break
            sides = [before, after] if turn % 2 else [after, before]
            found = _round(names, sides)
            rounds.append((found[before], found[after]))
        return Row(
            name=name,
            title=contest["title"],
            rounds=len(rounds),
            seconds=time.monotonic() - began,
            figures=[compared(each, contest["unit"], rounds) for each in rounds[0][0] if each in rounds[0][1]],
        )
    except FailedError as error:
        return Row(name=name, failure=str(error))
    finally:
        for each in (before, after):
            with contextlib.suppress(FailedError):
                each.ask(close=name)


def _round(names: Sequence[str], sides: Sequence[_Side]) -> Mapping[_Side, dict[str, float]]:
    found: dict[_Side, dict[str, float]] = {each: {} for each in sides}
    for name in names:
        for each in sides:
            found[each].update(each.ask(measure=name)["figures"])
    return found


def compared(name: str, unit: str, rounds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> Compared:
    """What the rounds come to for one figure: before and after, and their ratio turned so that more than 1 is worse."""
    pairs = [(before[name], after[name]) for before, after in rounds]
    is_pace = unit.endswith("/s")
    ratios = [_ratio(*(pair[::-1] if is_pace else pair)) for pair in pairs]
    return Compared(
        name=name,
        unit=unit,
        before=spread([before for before, _ in pairs]),
        after=spread([after for _, after in pairs]),
        ratio=spread(ratios),
    )


def _ratio(least: float, most: float) -> float:
    if least == 0:
        return 1.0 if most == 0 else float("inf")
    return most / least


class _Side:
    """The process of a side."""

    def __init__(self, checkout: Path, scale: Scale) -> None:
        # Without -P the folder of the script would come first, and with it this side's own modules.
        command = [sys.executable, "-P", side.__file__, str(checkout), json.dumps(dataclasses.asdict(scale))]
        self._checkout = checkout
        self._process = subprocess.Popen(
            command,
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for who asks
        )

    @classmethod
    @contextmanager
    def started(cls, checkout: Path, scale: Scale) -> Generator[_Side]:
        """A side that ends with the block."""
        started = cls(checkout.resolve(), scale)
        try:
            yield started
        finally:
            started.end()

    def ask(self, **request: str) -> Mapping[str, Any]:
        """The reply to a request; ``FailedError`` where it could not be done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise FailedError(f"the process of {self._checkout} has ended")
        reply: Mapping[str, Any] = json.loads(line)
        if "failure" in reply:
            raise FailedError(f"{self._checkout}: {reply['failure']}")
        return reply

    def end(self) -> None:
        """End it: it stops what it has started when there are no more requests."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(_END_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


def _describe(checkout: Path) -> str:
    try:
        asked = ["git", "-C", str(checkout), "log", "-1", "--format=%h of %cI: %s"]
        commit = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "no commit that git knows"
    return f"{checkout} ({commit})"
