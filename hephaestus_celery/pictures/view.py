"""Which part of a graph or timeline is looked at, and how: what stands in the address of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Self
from urllib.parse import urlencode

MOST_BOXES = 60
"""Boxes up to which every step has its own; of larger graphs, those that are alike or follow each other share one."""
_ZOOMS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_MOST_OPENED = 20
_LONGEST = 200  # characters of a search
_FOREVER = 1e12  # seconds
_MOST_DIGITS = 7  # of the number of a row; no run has as many


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphView:
    """``opened`` are keys of steps whose folds are open; ``find`` marks the steps whose key or name contains it.

    ``most`` is the number of boxes up to which every step has its own; None: always. ``zoom`` is a factor.
    """

    opened: tuple[str, ...] = ()
    find: str = ""
    zoom: float = 1.0
    most: int | None = MOST_BOXES

    @classmethod
    def from_query(cls, query: Mapping[str, Sequence[str]]) -> Self:
        """The view of ``?open=KEY&open=KEY&find=TEXT&zoom=0.5&all=1``; whatever is wrong in it is passed over."""
        zoom = _number(_first(query, "zoom"), 1.0)
        return cls(
            opened=tuple(dict.fromkeys(query.get("open", ())))[:_MOST_OPENED],
            find=_first(query, "find")[:_LONGEST],
            zoom=min(max(zoom, _ZOOMS[0]), _ZOOMS[-1]),
            most=None if _first(query, "all") == "1" else MOST_BOXES,
        )

    def query(self) -> str:
        """What :meth:`from_query` reads, encoded for an address; empty for the view that is shown first."""
        pairs = [("open", key) for key in self.opened]
        pairs += [("find", self.find)] if self.find else []
        pairs += [("zoom", f"{self.zoom:g}")] if self.zoom != 1 else []
        pairs += [("all", "1")] if self.most is None else []
        return urlencode(pairs, errors="backslashreplace")

    def opening(self, key: str) -> Self:
        """The view with the fold of this step open, too."""
        return replace(self, opened=tuple(dict.fromkeys((*self.opened, key)))[-_MOST_OPENED:])

    def folded(self) -> Self:
        """The view with every fold closed."""
        return replace(self, opened=())

    def larger(self) -> Self | None:
        """The next larger view; None where this is the largest."""
        zoom = next((each for each in _ZOOMS if each > self.zoom), None)
        return None if zoom is None else replace(self, zoom=zoom)

    def smaller(self) -> Self | None:
        """The next smaller view; None where this is the smallest."""
        zoom = next((each for each in reversed(_ZOOMS) if each < self.zoom), None)
        return None if zoom is None else replace(self, zoom=zoom)


MOST_ROWS = 60
"""Steps of a timeline on one page."""
_SORTS = ("start", "longest")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineView:
    """``first`` is the number of the first row; ``begin`` and ``end`` are seconds from the start of the run (None: all of it).

    ``find`` marks the steps whose key contains it, and goes to the first of them. ``sort`` is ``start`` or ``longest``.
    ``most`` is the number of rows on a page; None: all of them on one.
    """

    first: int | None = None
    find: str = ""
    begin: float | None = None
    end: float | None = None
    sort: str = "start"
    most: int | None = MOST_ROWS

    @classmethod
    def from_query(cls, query: Mapping[str, Sequence[str]]) -> Self:
        """The view of ``?row=60&row_find=TEXT&from=1.5&to=20&sort=longest&rows=all``; whatever is wrong in it is passed over."""
        begin, end = (_number(_first(query, name), -1.0) for name in ("from", "to"))
        valid = 0 <= begin < end < _FOREVER
        row, sort = _first(query, "row"), _first(query, "sort")
        return cls(
            first=int(row) if row.isascii() and row.isdecimal() and len(row) <= _MOST_DIGITS else None,
            find=_first(query, "row_find")[:_LONGEST],
            begin=begin if valid else None,
            end=end if valid else None,
            sort=sort if sort in _SORTS else _SORTS[0],
            most=None if _first(query, "rows") == "all" else MOST_ROWS,
        )

    def query(self) -> str:
        """What :meth:`from_query` reads, encoded for an address; empty for the view that is shown first."""
        pairs = [("row", str(self.first))] if self.first is not None else []
        pairs += [("row_find", self.find)] if self.find else []
        if self.begin is not None and self.end is not None:
            pairs += [("from", f"{self.begin:.6g}"), ("to", f"{self.end:.6g}")]
        pairs += [("sort", self.sort)] if self.sort != _SORTS[0] else []
        pairs += [("rows", "all")] if self.most is None else []
        return urlencode(pairs, errors="backslashreplace")

    def at_row(self, first: int) -> Self:
        """The view from this row on."""
        return replace(self, first=max(0, first))

    def between(self, begin: float, end: float) -> Self:
        """The view of this stretch of time, from its first row on."""
        return replace(self, begin=begin, end=end, first=None)

    def whole(self) -> Self:
        """The view of all the time of the run."""
        return replace(self, begin=None, end=None, first=None)


def _first(query: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(query.get(name, ())), "")


def _number(text: str, default: float) -> float:
    try:
        number = float(text)
    except ValueError:
        return default
    return default if isnan(number) else number
