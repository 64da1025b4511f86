"""Folds the steps of a large graph: those that are linked alike share a box, and so do those that follow each other.

The graph is reduced, again and again: steps with the same links before and after them are one fold, and rows of steps that
lead to each other are one. What is left over is cut into sections. The result is a tree of folds, of which a view opens some.
A fold never closes a circle of links: its members have the same neighbours, or follow each other in a topological order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from graphlib import TopologicalSorter

from hephaestus_celery.pictures.marks import CALM

_BRANCHES = 12
"""Parts that a fold shows at most when it is opened."""
_SAMPLES = 3
"""Steps of those that are alike that stand beside their fold, and at both ends of a row."""
_SIZES = ((6, 8), (2, 2))
"""Members of a fold at least, alike and in a row: first where it saves much, then wherever it saves anything."""

_APART = "apart"
"""The word of a step that is never folded; no standing is called so."""


class Kind(StrEnum):
    """What a piece of a picture is; ``GROUP`` opens by itself where there is room."""

    STEP = "step"
    GROUP = "group"
    ALIKE = "alike"
    BETWEEN = "between"
    SECTION = "section"


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A step, or a fold of several: ``keys`` are all steps of it, in topological order, ``parts`` what it shows when it is open."""

    kind: Kind
    keys: tuple[str, ...]
    words: frozenset[str]
    parts: tuple[Piece, ...] = ()


Edge = tuple[str, str, str]  # source, event with its style, target
_Links = dict[tuple[int, str], None]


@dataclass(slots=True)
class _Reduction:
    """Pieces by number, in topological order, and their links: pairs of another piece and an event."""

    pieces: dict[int, Piece] = field(default_factory=dict[int, Piece])
    before: dict[int, _Links] = field(default_factory=dict[int, _Links])
    after: dict[int, _Links] = field(default_factory=dict[int, _Links])

    def merge(self, members: Sequence[int], piece: Piece) -> None:
        """Replace ``members`` by one piece, which takes the number of the first of them."""
        own = set(members)
        first = members[0]
        before = {link: None for each in members for link in self.before[each] if link[0] not in own}
        after = {link: None for each in members for link in self.after[each] if link[0] not in own}
        for links, other_side in ((before, self.after), (after, self.before)):
            for other, _ in links:
                kept = {(first if number in own else number, event): None for number, event in other_side[other]}
                other_side[other] = kept
        for each in members:
            del self.pieces[each], self.before[each], self.after[each]
        self.pieces[first], self.before[first], self.after[first] = piece, before, after


def folded(
    keys: Sequence[str],
    edges: Sequence[Edge],
    *,
    most: int,
    word_of: Callable[[str], str] = lambda _: "",
    apart: frozenset[str] = frozenset(),
) -> Sequence[Piece]:
    """The pieces of a graph, ``most`` of them where that can be had; ``keys`` in topological order.

    Steps of different standings (``word_of``) are not alike, and what is not calm stands in no row; ``apart`` are never folded.
    """
    pieces = [Piece(Kind.STEP, (key,), frozenset((_APART if key in apart else word_of(key),))) for key in keys]
    number = {key: index for index, key in enumerate(keys)}
    state = _Reduction(
        dict(enumerate(pieces)), {index: {} for index in range(len(keys))}, {index: {} for index in range(len(keys))}
    )
    for source, event, target in edges:
        state.after[number[source]][number[target], event] = None
        state.before[number[target]][number[source], event] = None
    for alike, row in _SIZES:
        changed = True
        while changed and len(state.pieces) > most:
            changed = _fold_alike(state, alike) | _fold_rows(state, row)
    if len(state.pieces) > most:
        return _sections(_in_order(state))
    return _in_order(state)


def _fold_alike(state: _Reduction, least: int) -> bool:
    groups: dict[object, list[int]] = defaultdict(list)
    for each in sorted(state.pieces):
        piece = state.pieces[each]
        if _APART not in piece.words:
            links = frozenset(state.before[each]), frozenset(state.after[each])
            groups[(*links, piece.words, len(piece.parts))].append(each)
    found = [members for members in groups.values() if len(members) >= least]
    for members in found:
        parts = [state.pieces[each] for each in members]
        if len(parts) > _SAMPLES + 1:
            parts = [*parts[:_SAMPLES], _nested(Kind.ALIKE, parts[_SAMPLES:])]
        state.merge(members, _over(Kind.GROUP, parts))
    return bool(found)


def _fold_rows(state: _Reduction, least: int) -> bool:
    following: dict[int, int] = {}
    for each, links in state.after.items():
        targets = {target for target, _ in links}
        if len(targets) == 1 and state.pieces[each].words <= CALM:
            [target] = targets
            if {source for source, _ in state.before[target]} == {each} and state.pieces[target].words <= CALM:
                following[each] = target
    heads = sorted(set(following) - set(following.values()))
    changed = False
    for head in heads:
        row = [head]
        while row[-1] in following:
            row.append(following[row[-1]])
        if len(row) >= least:
            changed = True
            parts = [state.pieces[each] for each in row]
            if len(parts) > 2 * _SAMPLES + 1:
                between = _nested(Kind.BETWEEN, parts[_SAMPLES:-_SAMPLES])
                parts = [*parts[:_SAMPLES], between, *parts[-_SAMPLES:]]
            state.merge(row, _over(Kind.GROUP, parts))
    return changed


def _in_order(state: _Reduction) -> list[Piece]:
    """The pieces in a topological order of their links."""
    before = {each: [other for other, _ in state.before[each]] for each in sorted(state.pieces)}
    return [state.pieces[each] for each in TopologicalSorter(before).static_order()]


def _sections(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """Stretches of a topological order, cut where a piece stands apart."""
    found: list[Piece] = []
    stretch: list[Piece] = []
    size = -(-len(pieces) // _BRANCHES)
    for piece in (*pieces, None):
        cut = piece is None or _APART in piece.words
        if stretch and (cut or len(stretch) >= size):
            found.append(_nested(Kind.SECTION, stretch))
            stretch = []
        if piece is not None:
            if cut:
                found.append(piece)
            else:
                stretch.append(piece)
    return found


def _nested(kind: Kind, parts: Sequence[Piece]) -> Piece:
    """A fold of these parts: of more than can be shown at once, one of folds of them."""
    if len(parts) == 1:
        return parts[0]
    if len(parts) > 2 * _BRANCHES:
        size = -(-len(parts) // _BRANCHES)
        parts = [_nested(kind, parts[at : at + size]) for at in range(0, len(parts), size)]
    return _over(kind, parts)


def _over(kind: Kind, parts: Sequence[Piece]) -> Piece:
    keys = tuple(key for part in parts for key in part.keys)
    return Piece(kind, keys, frozenset[str]().union(*(part.words for part in parts)), tuple(parts))


def opened(roots: Sequence[Piece], keys: frozenset[str], *, most: int) -> Sequence[Piece]:
    """The pieces that are shown: folds that hold one of ``keys`` are open, and so are groups while there is room for them."""
    shown: dict[Piece, None] = {}
    for piece in roots:
        shown |= dict.fromkeys(_opened(piece, keys))
    while True:
        groups = [piece for piece in shown if piece.kind is Kind.GROUP and len(shown) + len(piece.parts) - 1 <= most]
        if not groups:
            return list(shown)
        least = min(groups, key=lambda piece: len(piece.parts))
        shown = dict.fromkeys(_replaced(shown, least))


def _replaced(shown: Mapping[Piece, None], piece: Piece) -> Iterator[Piece]:
    for each in shown:
        yield from each.parts if each is piece else (each,)


def _opened(piece: Piece, keys: frozenset[str]) -> Iterator[Piece]:
    if piece.parts and not keys.isdisjoint(piece.keys):
        for part in piece.parts:
            yield from _opened(part, keys)
    else:
        yield piece
