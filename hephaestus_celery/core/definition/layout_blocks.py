"""Blocks of a layout: boxes with the same links before and after them, in a grid with one way in and one way out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from hephaestus_celery.core.definition.layout_values import Bend, Box, Layout, Link, Place, Route, Spacing

_SIDE = 22.0
"""Pixels beside a grid of several rows, for the way down to the rows and from them."""
_CROWD = 3
"""Boxes, and links of each, that are a block even in one row: else each would be linked to each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """``members`` are keys, row by row; ``column`` is the size of a cell, and ``head`` and ``foot`` leave room for curves."""

    members: Sequence[str]
    per_row: int
    left: float
    right: float
    height: float
    spacing: Spacing
    head: float
    foot: float

    @property
    def rows(self) -> int:
        """How many rows its grid has."""
        return -(-len(self.members) // self.per_row)

    @property
    def box(self) -> Box:
        """The block as a box, under the key of its first member."""
        side = _SIDE if self.rows > 1 else 0
        half = (self.per_row * (self.left + self.right) + (self.per_row - 1) * self.spacing.across) / 2 + side
        high = self.rows * self.height + (self.rows - 1) * self.gap
        return Box(key=self.members[0], left=half, right=half, height=self.head + high + self.foot)

    def top(self, row: int) -> float:
        """The upper edge of a row, from that of the block."""
        return self.head + row * (self.height + self.gap)

    @property
    def gap(self) -> float:
        """Pixels between two rows: above for what leaves the one, below for what leads to the other."""
        return round(self.spacing.down * 1.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contracted:
    """A graph with a box for each block; ``carried`` has for each link the number of the one that it is part of here."""

    boxes: Sequence[Box]
    links: Sequence[Link]
    carried: Sequence[int]
    blocks: Mapping[str, Block]


def blocks_of(boxes: Sequence[Box], links: Sequence[Link], spacing: Spacing) -> Sequence[Block]:
    """The blocks of a graph: boxes of which each has the same links as the others, all of one style on either side."""
    before: dict[str, dict[tuple[str, str, str], None]] = defaultdict(dict)
    after: dict[str, dict[tuple[str, str, str], None]] = defaultdict(dict)
    for link in links:
        before[link.target][link.source, link.port, link.style] = None
        after[link.source][link.target, link.port, link.style] = None
    alike: dict[tuple[frozenset[tuple[str, str, str]], frozenset[tuple[str, str, str]]], list[Box]] = defaultdict(list)
    for box in boxes:
        alike[frozenset(before[box.key]), frozenset(after[box.key])].append(box)
    found: list[Block] = []
    for (into, out), members in alike.items():
        crowded = len(members) >= _CROWD and max(len(into), len(out)) >= _CROWD
        plain = all(len({style for *_, style in side}) <= 1 for side in (into, out))
        if (into or out) and plain and (len(members) > spacing.fan or crowded):
            found.append(_block(members, spacing, head=bool(into), foot=bool(out)))
    return found


def _block(members: Sequence[Box], spacing: Spacing, *, head: bool, foot: bool) -> Block:
    most = max(spacing.fan, isqrt(len(members)))  # a square rather than a tower
    rows = -(-len(members) // most)
    return Block(
        members=[box.key for box in members],
        per_row=-(-len(members) // rows),
        left=max(box.left for box in members),
        right=max(box.right for box in members),
        height=max(box.height for box in members),
        spacing=spacing,
        head=spacing.down if head else 0,
        foot=spacing.down if foot else 0,
    )


def contracted(boxes: Sequence[Box], links: Sequence[Link], blocks: Sequence[Block]) -> Contracted:
    """The graph in which each block is one box, in the place of its first member, and each set of its links one link."""
    holder = {key: block.members[0] for block in blocks for key in block.members}
    by_key = {block.members[0]: block for block in blocks}
    kept = [
        by_key[box.key].box if box.key in by_key else box for box in boxes if holder.get(box.key, box.key) == box.key
    ]
    number: dict[Link, int] = {}
    carried: list[int] = []
    for link in links:
        source, target = holder.get(link.source, link.source), holder.get(link.target, link.target)
        fewer = Link(source=source, target=target, port="" if source in by_key else link.port, style=link.style)
        carried.append(number.setdefault(fewer, len(number)))
    return Contracted(boxes=kept, links=list(number), carried=carried, blocks=by_key)


def expanded(boxes: Sequence[Box], links: Sequence[Link], fewer: Contracted, laid: Layout) -> Layout:
    """The layout of all boxes, out of that of the contracted graph."""
    grids = [_Grid(block, laid.places[key]) for key, block in fewer.blocks.items()]
    inside = {member: grid for grid in grids for member in grid.places}
    places = {box.key: inside[box.key].places[box.key] if box.key in inside else laid.places[box.key] for box in boxes}
    routes: list[Sequence[Route]] = []
    drawn: set[int] = set()
    for link, carried in zip(links, fewer.carried, strict=True):
        out, into = inside.get(link.source), inside.get(link.target)
        ways = () if carried in drawn else laid.routes[carried]
        between = [_joined(route, out, into) for route in ways]
        drawn.add(carried)
        leaving: Sequence[Route] = [] if out is None else out.leave(link.source)
        entering: Sequence[Route] = [] if into is None else into.enter(link.target)
        routes.append((*leaving, *between, *entering))
    return Layout(width=laid.width, height=laid.height, places=places, routes=routes)


def _joined(route: Route, out: _Grid | None, into: _Grid | None) -> Route:
    """The way between blocks, from the exit of one to the entry of the other."""
    start = out.exit if out is not None and route.start is None else route.start
    end = into.entry if into is not None and route.end is None else route.end
    return Route(bends=route.bends, start=start, end=end)


class _Grid:
    """A block in its place, with the ways to its boxes and from them, each of which is given once."""

    def __init__(self, block: Block, place: Place) -> None:
        box = block.box
        self.entry = Bend(x=place.x, top=place.y, bottom=place.y)
        self.exit = Bend(x=place.x, top=place.y + box.height, bottom=place.y + box.height)
        self.places: dict[str, Place] = {}
        self._row: dict[str, int] = {}
        self._last = block.rows - 1
        cell = block.left + block.right + block.spacing.across
        first = place.x - box.left + (_SIDE if block.rows > 1 else 0) + block.left
        tops = [place.y + block.top(row) for row in range(block.rows)]
        for number, member in enumerate(block.members):
            row, column = divmod(number, block.per_row)
            self._row[member] = row
            x = float(round(first + column * cell))
            self.places[member] = Place(x=x, y=tops[row], below=tops[row] + block.height)
        left, right, half = place.x - box.left + 8, place.x + box.right - 8, block.gap / 2
        self._down = [Bend(x=left, top=top, bottom=top + block.height + half) for top in tops]
        self._out = [Bend(x=right, top=top - half, bottom=top + block.height) for top in tops]
        self._given: set[tuple[str, object]] = set()

    def enter(self, member: str) -> Sequence[Route]:
        """The way from the entry to a box: down beside the rows above it."""
        if not self._first("enter", member):
            return []
        row = self._row[member]
        if not row:
            return [Route(start=self.entry)]
        before = self._down[row - 1]
        if not self._first("down", row):
            return [Route(start=before)]
        above = self._down[: row - 1]
        new = [bend for number, bend in enumerate(above, 1) if self._first("down", number)]
        start = self.entry if len(new) == len(above) else above[-1 - len(new)]
        return [Route(start=start, bends=[*new, before])]

    def leave(self, member: str) -> Sequence[Route]:
        """The way from a box to the exit: down beside the rows below it."""
        if not self._first("leave", member):
            return []
        row = self._row[member]
        below = self._out[row + 1 :]
        new: list[Bend] = []
        for number, bend in enumerate(below, row + 1):
            if not self._first("out", number):
                return [Route(bends=new, end=bend)]
            new.append(bend)
        return [Route(bends=new, end=self.exit)]

    def _first(self, what: str, which: object) -> bool:
        new = (what, which) not in self._given
        self._given.add((what, which))
        return new
