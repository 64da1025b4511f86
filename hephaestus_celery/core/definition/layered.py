"""Lays out boxes in rows, top down (after Sugiyama): ranks, rows with fewer crossings, columns, routes.

Long links are led between the boxes through bends, one in each row that they pass. Links that leave by one port, or that
reach one box, share their bends where they run side by side. So the work grows with the links.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hephaestus_celery.core.definition.layout_columns import Extent, columns
from hephaestus_celery.core.definition.layout_order import ordered
from hephaestus_celery.core.definition.layout_values import Bend, Box, Layout, Link, Place, Route, Spacing

_BENDS_PER_LINK = 3
"""Bends that a graph may have for each of its links and boxes; links beyond that are led straight, behind the boxes."""
_BEND = Extent(left=5, right=5)


def layered(boxes: Sequence[Box], links: Sequence[Link], spacing: Spacing) -> Layout:
    """A place for each box, and a route for each link; boxes in topological order."""
    number = {box.key: index for index, box in enumerate(boxes)}
    pairs = [(number[link.source], number[link.target]) for link in links]
    ranks = _ranks(len(boxes), pairs)
    ways, ranks = _ways(links, pairs, ranks)
    rows, down = _rows(len(boxes), ranks, ways)
    rows = ordered(rows, down)
    extents = [Extent(left=box.left, right=box.right) for box in boxes]
    extents += [_BEND] * (len(ranks) - len(boxes))
    xs = columns(rows, down, extents, gap=spacing.across, boxes=len(boxes))
    return _placed(boxes, rows, xs, ways, down=spacing.down)


def _ranks(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The row of each box: below all before it."""
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for source, target in dict.fromkeys(pairs):
        after[source].append(target)
        before[target].append(source)
    ranks = [0] * count
    for box in range(count):
        ranks[box] = max((ranks[source] + 1 for source in before[box]), default=0)
    for box in reversed(range(count)):  # nearer to where most of its links lead
        if before[box] and len(after[box]) > len(before[box]):
            ranks[box] = min(ranks[target] for target in after[box]) - 1
    return ranks


@dataclass(slots=True)
class _Way:
    """What a link adds: the vertices from ``vertices[0]`` to ``vertices[-1]``; both ends may be bends that others have made."""

    vertices: list[int]
    straight: bool = False
    """Whether it is led from box to box without bends, since there are too many."""


def _ways(
    links: Sequence[Link], pairs: Sequence[tuple[int, int]], ranks: Sequence[int]
) -> tuple[list[_Way], list[int]]:
    """The way of each link, and the rank of each vertex: of the boxes, then of the bends."""
    leaving: dict[object, int] = defaultdict(int)
    reaching: dict[object, int] = defaultdict(int)
    for link in links:
        leaving[link.source, link.port] += 1
        reaching[link.target, link.style] += 1
    most = (_BENDS_PER_LINK + 1) * (len(links) + len(ranks))
    placed = list(ranks)
    bundles: dict[object, dict[int, int]] = defaultdict(dict)
    ways: list[_Way] = []
    for link, (source, target) in zip(links, pairs, strict=True):
        out, into = (link.source, link.port), (link.target, link.style)
        fans = leaving[out] >= reaching[into]
        bends = bundles[("from", *out) if fans else ("to", *into)]
        first, last = ranks[source] + 1, ranks[target] - 1
        # A bundle is one way without gaps, down from its source or up from its target: what is missing stands at its end.
        new = range(first + len(bends), last + 1) if fans else range(first, last + 1 - len(bends))
        if len(placed) + len(new) > most:
            ways.append(_Way([source, target], straight=True))
            continue
        added = list(range(len(placed), len(placed) + len(new)))
        placed += new
        met = (min(last, new.start - 1) if fans else max(first, new.stop)) if first <= last and bends else None
        shared = [] if met is None else [bends[met]]
        bends |= zip(new, added, strict=True)
        start = shared if fans and shared else [source]
        end = [target] if fans or not shared else shared
        ways.append(_Way([*start, *added, *end]))
    return ways, placed


def _rows(count: int, ranks: Sequence[int], ways: Sequence[_Way]) -> tuple[list[list[int]], dict[int, list[int]]]:
    """The vertices of each row, bends amid the boxes, and for each vertex those in the next row that its links lead to."""
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    bends: list[list[int]] = [[] for _ in rows]
    for vertex, rank in enumerate(ranks):
        (rows if vertex < count else bends)[rank].append(vertex)
    for row, amid in zip(rows, bends, strict=True):
        half = (len(row) + 1) // 2
        row[half:half] = amid
    down: dict[int, dict[int, None]] = defaultdict(dict)
    for way in ways:
        if not way.straight:
            for upper, lower in pairwise(way.vertices):
                down[upper][lower] = None
    return rows, {vertex: list(below) for vertex, below in down.items()}


def _placed(
    boxes: Sequence[Box], rows: Sequence[Sequence[int]], xs: Sequence[float], ways: Sequence[_Way], *, down: float
) -> Layout:
    count, end, right = len(boxes), 0.0, 0.0
    found: dict[str, Place] = {}
    bends: dict[int, Bend] = {}
    for row in rows:
        height = max((boxes[vertex].height for vertex in row if vertex < count), default=0.0)
        for vertex in row:
            x = xs[vertex]
            if vertex < count:
                found[boxes[vertex].key] = Place(x=x, y=end, below=end + height)
                right = max(right, x + boxes[vertex].right)
            else:
                bends[vertex] = Bend(x=x, top=end, bottom=end + height)
                right = max(right, x + _BEND.right)
        end += height + down
    routes = [
        [
            Route(
                bends=[bends[vertex] for vertex in way.vertices[1:-1]],
                start=bends.get(way.vertices[0]),
                end=bends.get(way.vertices[-1]),
            )
        ]
        for way in ways
    ]
    places = {box.key: found[box.key] for box in boxes}
    return Layout(width=right, height=max(0.0, end - down), places=places, routes=routes)
