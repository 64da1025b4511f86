"""The columns of a layered layout: each vertex as near to what it is linked to as its neighbours in the row allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SWEEPS, _FEW_SWEEPS = 20, 3
_MANY = 600
_STRAIGHT = 100.0
"""How much more it counts that a bend stays under a bend, than that a box stays under a box."""
_UNLINKED = 0.01

_Wish = tuple[float, Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How far a vertex reaches to both sides of its axis."""

    left: float
    right: float


def columns(
    rows: Sequence[Sequence[int]],
    down: Mapping[int, Sequence[int]],
    extents: Sequence[Extent],
    *,
    gap: float,
    boxes: int,
) -> list[float]:
    """The axis of each vertex, in whole pixels; vertices below ``boxes`` are boxes, the others bends.

    In a row the order is kept, with ``gap`` between boxes, and half of it beside bends; the leftmost extent begins at 0.
    """
    up: dict[int, list[int]] = {}
    for upper, lowers in down.items():
        for lower in lowers:
            up.setdefault(lower, []).append(upper)
    starts = [_starts(row, extents, gap, boxes) for row in rows]
    xs = [0.0] * len(extents)
    for row, start in zip(rows, starts, strict=True):
        middle = (start[-1] if start else 0.0) / 2
        for vertex, at in zip(row, start, strict=True):
            xs[vertex] = at - middle
    vertices = range(len(extents))
    above = [_wished(vertex, up.get(vertex, ()), boxes) for vertex in vertices]
    below = [_wished(vertex, down.get(vertex, ()), boxes) for vertex in vertices]
    both = [_wished(vertex, (*up.get(vertex, ()), *down.get(vertex, ())), boxes) for vertex in vertices]
    order = range(len(rows))
    sweeps = _SWEEPS if len(extents) <= _MANY else _FEW_SWEEPS
    for near, indices in ((above, order), (below, order[::-1])) * sweeps + ((both, order), (both, order[::-1])):
        for index in indices:
            _settle(rows[index], starts[index], near, xs)
    left = min((xs[vertex] - extents[vertex].left for row in rows for vertex in row), default=0.0)
    return _whole(rows, extents, [x - left for x in xs])


def _starts(row: Sequence[int], extents: Sequence[Extent], gap: float, boxes: int) -> list[float]:
    """The axes of a row whose vertices stand as close as they may."""
    found: list[float] = []
    for index, vertex in enumerate(row):
        if index == 0:
            found.append(0.0)
            continue
        before = row[index - 1]
        between = gap if vertex < boxes and before < boxes else gap / 2
        found.append(found[-1] + extents[before].right + between + extents[vertex].left)
    return found


def _wished(vertex: int, others: Sequence[int], boxes: int) -> _Wish:
    """What a vertex wants to be near to, and how much that counts; a bend in a line of bends wants to stay in it."""
    bends = [other for other in others if other >= boxes] if vertex >= boxes else []
    if bends:
        return _STRAIGHT, bends
    return (1.0 if others else _UNLINKED), others


def _settle(
    row: Sequence[int],
    starts: Sequence[float],
    near: Sequence[_Wish],
    xs: list[float],
) -> None:
    """Move a row to where the squares of the distances from what each vertex wants are least (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []  # sum of weighted wishes, weight, vertices
    for vertex, start in zip(row, starts, strict=True):
        weight, others = near[vertex]
        wanted = sum([xs[other] for other in others]) / len(others) if others else xs[vertex]
        total, size = weight * (wanted - start), 1
        while blocks and blocks[-1][0] * weight >= total * blocks[-1][1]:
            last_total, last_weight, last_size = blocks.pop()
            total, weight, size = total + last_total, weight + last_weight, size + last_size
        blocks.append((total, weight, size))
    place = 0
    for total, weight, size in blocks:
        for _ in range(size):
            xs[row[place]] = total / weight + starts[place]
            place += 1


def _whole(rows: Sequence[Sequence[int]], extents: Sequence[Extent], xs: Sequence[float]) -> list[float]:
    """Whole pixels; what rounding has brought together stays apart, since gaps are wider than a pixel."""
    found = [0.0] * len(extents)
    for row in rows:
        for vertex in row:
            found[vertex] = float(round(xs[vertex]))
    return found
