"""What a layout is made of: boxes and links before it, places and routes after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What is laid out: ``left`` and ``right`` of the axis on which its links end, and its height, in pixels."""

    key: str
    left: float
    right: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link between boxes. Those that leave ``source`` by one ``port``, or reach ``target`` in one ``style``, may share their way."""

    source: str
    target: str
    port: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a box stands: the axis of its links, its upper edge, and the lower edge of its row."""

    x: float
    y: float
    below: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bend:
    """A link passes a row at ``x``, straight down from ``top`` to ``bottom``."""

    x: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way of a link, without what it shares with other links: from ``start`` over ``bends`` to ``end``.

    ``start`` is None where it begins at its source, ``end`` where it reaches its target; else they are on the way of another
    link.
    """

    bends: Sequence[Bend] = ()
    start: Bend | None = None
    end: Bend | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """``routes`` has the pieces of each link, in the order of the links; none where all of its way is that of others.

    No bend stands on a box.
    """

    width: float
    height: float
    places: Mapping[str, Place]
    routes: Sequence[Sequence[Route]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """Pixels between boxes of a row, and between rows; more than ``fan`` boxes that are linked alike take several rows."""

    across: float = 28
    down: float = 40
    fan: int = 6
