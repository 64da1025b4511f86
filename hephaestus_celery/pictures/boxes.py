"""Draws the boxes of a graph: steps with how they stand, folds with what they hold, compensations beside what they undo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.definition.layout_values import Place
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.pictures.condensed import Condensed
from hephaestus_celery.pictures.folding import Kind, Piece
from hephaestus_celery.pictures.geometry import UNDO_GAP, Geometry, compensation_of
from hephaestus_celery.pictures.links import Links
from hephaestus_celery.pictures.marks import URGENCY, StepMark, icon, shape_class
from hephaestus_celery.pictures.markup import element, linked, safe, shortened, text, title
from hephaestus_celery.pictures.view import GraphView
from hephaestus_celery.reports.text import columns, fitted, printable

_NOT_REACHED = StepMark(word="not reached")
_DETAIL = 6.4
"""Pixels of a column of a second line."""
_BADGE = 6.6


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxDrawing:
    """What the boxes of a picture have in common."""

    graph: Graph
    shown: Condensed
    geometry: Geometry
    marks: Mapping[str, StepMark] | None
    view: GraphView
    links: Links

    def draw(self, number: int, place: Place) -> str:
        """A piece of the picture, and the compensation beside it."""
        piece, wide = self.shown.pieces[number], self.geometry.widths[number]
        left = place.x - wide / 2
        if piece.kind is not Kind.STEP:
            return self._fold(piece, left, place.y, wide)
        [key] = piece.keys
        drawn = self._step(key, left, place.y, wide, badge=self._join(key))
        other = compensation_of(self.graph, piece)
        if other is None:
            return drawn
        right, middle = left + wide, place.y + self.geometry.height / 2
        line = element("path", class_="edge undo", d=f"M{right:g} {middle:g}h{UNDO_GAP - 8}", fill="none")
        end = element("circle", class_="undo-end", cx=right + UNDO_GAP - 4, cy=middle, r=4)
        name = text("undo", x=right + UNDO_GAP / 2 - 3, y=middle - 5, class_="event quiet")
        beside = self._step(other, right + UNDO_GAP, place.y, self.geometry.width, kind="compensation")
        return line + end + name + beside + drawn

    def _mark(self, key: str) -> StepMark | None:
        return None if self.marks is None else self.marks.get(key, _NOT_REACHED)

    def _join(self, key: str) -> str:
        step = self.graph.by_key[key]
        needed, before = self.graph.needed(step), len(self.graph.predecessors(step))
        return "" if not needed else f"all {needed}" if needed == before else f"{needed} of {before}"

    def _step(self, key: str, x: float, y: float, wide: float, *, badge: str = "", kind: str = "step") -> str:
        geometry, mark = self.geometry, self._mark(key)
        word = "" if mark is None else mark.word
        high = geometry.height
        parts = [element("rect", class_="box", x=x, y=y, width=wide, height=high, rx=high / 2 if key == DONE else 7)]
        middle = y + high / 2
        name = text(
            shortened(key, geometry.columns), x=x + geometry.title_x, y=middle + (-3 if mark else 4), class_="name"
        )
        if mark is not None:
            parts.append(icon(word, x=x + 11, y=middle - 8))
            told = ", ".join(filter(None, (word, mark.detail)))
            room = int((wide - geometry.title_x - 10) / _DETAIL)
            name += text(fitted(printable(told), room), x=x + geometry.title_x, y=middle + 14, class_="detail")
        parts.append(name)
        if badge:
            parts.append(_badge(badge, x + wide - 10, y))
        if key in self.shown.found:
            parts.insert(0, _ring(x, y, wide, high))
        about = ", ".join(
            filter(None, (safe(key), f"joins {badge}" if badge else "", word, mark.detail if mark else ""))
        )
        parts.append(title(about))
        classes = f"{kind} {shape_class(word)}" + (" found" if key in self.shown.found else "")
        href = self.links.step(key) if self.links.step else None
        return linked(
            href, element("g", parts, class_=classes, role=None if href else "img", aria_label=None if href else about)
        )

    def _fold(self, piece: Piece, x: float, y: float, wide: float) -> str:
        geometry, high = self.geometry, self.geometry.height
        word = _word(piece) if self.marks is not None else ""
        steps = f"{len(piece.keys):,} steps"
        name = {Kind.ALIKE: f"+ {_alike(piece):,} like this", Kind.BETWEEN: f"+ {len(piece.keys):,} between"}.get(
            piece.kind, steps
        )
        parts = [
            element("rect", class_="box behind", x=x + 8, y=y + 6, width=wide - 8, height=high, rx=7),
            element("rect", class_="box behind", x=x + 4, y=y + 3, width=wide - 4, height=high, rx=7),
            element("rect", class_="box", x=x, y=y, width=wide - 8, height=high, rx=7),
        ]
        middle, at = y + high / 2, x + geometry.title_x
        if word:
            parts.append(icon(word, x=x + 11, y=middle - 8))
        parts.append(text(name, x=at, y=middle - 3, class_="name fold-name"))
        told = self._told(piece)
        room = int((wide - geometry.title_x - 18) / _DETAIL)
        parts.append(text(fitted(printable(told), room), x=at, y=middle + 14, class_="detail"))
        found = len(self.shown.found.intersection(piece.keys))
        if found:
            parts.insert(0, _ring(x, y, wide - 8, high))
            parts.append(_badge(f"{found:,} found", x + wide - 16, y))
        about = f"{name}: {safe(piece.keys[0])} to {safe(piece.keys[-1])}" + (
            f"; {told}" if self.marks is not None else ""
        )
        parts.append(title(about))
        href = self.links.view(self.view.opening(piece.keys[0])) if self.links.view else None
        group = element(
            "g",
            parts,
            class_=f"fold {shape_class(word)}",
            role=None if href else "img",
            aria_label=None if href else about,
        )
        return linked(href, group)

    def _told(self, piece: Piece) -> str:
        if self.marks is None:
            return f"{piece.keys[0]} … {piece.keys[-1]}"
        counts = Counter(self.marks.get(key, _NOT_REACHED).word for key in piece.keys)
        return " · ".join(f"{count:,} {word}" for word, count in sorted(counts.items(), key=_urgent))


def _alike(piece: Piece) -> int:
    """How many there are of what an opened fold shows, in it and in the folds that it is parted into."""
    if piece.kind is not Kind.ALIKE:
        return 1
    return sum(map(_alike, piece.parts))


def _word(piece: Piece) -> str:
    """The word that tells most of what a fold holds."""
    return next((word for word in URGENCY if word in piece.words), "")


def _urgent(item: tuple[str, int]) -> int:
    return URGENCY.index(item[0])


def _badge(label: str, right: float, y: float) -> str:
    wide = columns(label) * _BADGE + 14
    return element(
        "g",
        [
            element("rect", x=right - wide, y=y - 9, width=wide, height=18, rx=9),
            text(label, x=right - wide / 2, y=y + 4),
        ],
        class_="badge",
    )


def _ring(x: float, y: float, wide: float, high: float) -> str:
    return element("rect", class_="ring", x=x - 5, y=y - 5, width=wide + 10, height=high + 10, rx=11)
