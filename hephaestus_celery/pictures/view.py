"""Which part of a graph is looked at, and how: what stands in the address of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlencode

MOST_BOXES = 60
"""Boxes up to which every step has its own; of larger graphs, those that are alike or follow each other share one."""
_ZOOMS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_MOST_OPENED = 20
_LONGEST = 200  # characters of a search


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


def _first(query: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(query.get(name, ())), "")


def _number(text: str, default: float) -> float:
    try:
        number = float(text)
    except ValueError:
        return default
    return number if number == number else default  # noqa: PLR0124 - a NaN is none
