"""The order of the vertices in each row of a layered layout: sweeps by barycentres, of which the best is kept."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise

_SWEEPS, _FEW_SWEEPS = 12, 3
_MANY = 600
"""Vertices beyond which fewer sweeps are made."""

Rows = list[list[int]]


def ordered(rows: Rows, down: Mapping[int, Sequence[int]]) -> Rows:
    """``rows`` with few crossings of the links in ``down`` (to the next row); vertices that don't matter keep their order."""
    up: dict[int, list[int]] = {}
    for upper, lowers in down.items():
        for lower in lowers:
            up.setdefault(lower, []).append(upper)
    best, fewest = rows, _crossings(rows, down)
    sweeps = _SWEEPS if sum(map(len, rows)) <= _MANY else _FEW_SWEEPS
    for _ in range(sweeps):
        if not fewest:
            break
        rows = _swept(rows, up)
        rows = _swept(rows[::-1], down)[::-1]
        crossings = _crossings(rows, down)
        if crossings >= fewest:
            continue
        best, fewest = rows, crossings
    return best


def _swept(rows: Rows, towards: Mapping[int, Sequence[int]]) -> Rows:
    """Each row sorted by the mean place of what its vertices are linked to in the row before it."""
    found: Rows = []
    place: dict[int, float] = {}
    for row in rows:
        wanted: list[float] = []
        for index, vertex in enumerate(row):
            near = [place[other] for other in towards.get(vertex, ()) if other in place]
            wanted.append(sum(near) / len(near) if near else (index + 0.5) / len(row))
        order = sorted(range(len(row)), key=wanted.__getitem__)
        found.append([row[index] for index in order])
        # Places are shares of the row: so rows of different lengths agree, and what has no links stays about where it was.
        place = {row[vertex]: (index + 0.5) / len(row) for index, vertex in enumerate(order)}
    return found


def _crossings(rows: Rows, down: Mapping[int, Sequence[int]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        place = {vertex: index for index, vertex in enumerate(lower)}
        seen: list[int] = []  # the ends of links from further left, sorted
        for vertex in upper:
            ends = [place[other] for other in down.get(vertex, ()) if other in place]
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                seen.insert(bisect_left(seen, end), end)
    return total
