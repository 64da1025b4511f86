"""The sizes of what is drawn of a graph: boxes as wide as their names, and the ports by which links leave them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.definition.layout_values import Box, Layout, Link
from hephaestus_celery.pictures.condensed import Condensed, Tie
from hephaestus_celery.pictures.folding import Kind, Piece
from hephaestus_celery.pictures.markup import shortened
from hephaestus_celery.reports.text import columns as columns_of

MARGIN = 20
UNDO_GAP = 48
"""Between a step and the compensation beside it."""
STRIP = 20
"""Height of the names of events under a box."""
_TITLE, _LABEL = 7.9, 6.8
"""Pixels of a column of a title, and of the name of an event."""
_FEWEST, _MOST = 13, 26
"""Columns of the titles of boxes."""
_MARKED_FEWEST = 23
_LABEL_COLUMNS = 22
_PADDING = 12
_ICON = 24


@dataclass(slots=True)
class Port:
    """Where the links of one event leave a box: ``x`` is measured from the axis of the box."""

    label: str
    style: str
    quiet: bool
    x: float = 0.0


@dataclass(slots=True)
class Geometry:
    """``columns`` of a title fit into a box, which is ``width`` by ``height`` pixels; that of a step with many events is wider."""

    columns: int
    marked: bool
    width: float
    height: float
    widths: list[float] = field(default_factory=list[float])
    ports: list[dict[tuple[str, str], Port]] = field(default_factory=list[dict[tuple[str, str], Port]])

    @property
    def title_x(self) -> float:
        """Where a title begins, from the left edge of its box."""
        return _PADDING + (_ICON if self.marked else 0)


def measured(graph: Graph, shown: Condensed, *, marked: bool) -> Geometry:
    """The sizes of a picture; ``marked``: its boxes tell how steps stand."""
    named = [piece.keys[0] for piece in shown.pieces if piece.kind is Kind.STEP]
    named += [other.key for step, other in graph.compensations.items() if step.key in set(named)]
    fewest = _MARKED_FEWEST if marked else _FEWEST
    columns = min(max([fewest, *map(columns_of, named)]), _MOST)
    if any(piece.kind is not Kind.STEP for piece in shown.pieces):
        columns = max(columns, _MARKED_FEWEST)
    folds = any(piece.kind is not Kind.STEP for piece in shown.pieces)
    found = Geometry(columns, marked, 0, 50 if marked or folds else 36)
    found.width = round(columns * _TITLE + found.title_x + _PADDING)
    found.ports = _ports(graph, shown)
    found.widths = [max(found.width, sum(map(_slot, ports.values()))) for ports in found.ports]
    return found


def _ports(graph: Graph, shown: Condensed) -> list[dict[tuple[str, str], Port]]:
    ports: list[dict[tuple[str, str], Port]] = [{} for _ in shown.pieces]
    for tie in shown.ties:
        piece = shown.pieces[tie.source]
        default = piece.kind is not Kind.STEP or len(graph.by_key[piece.keys[0]].events) == 1
        quiet = default and tie.style == "plain"
        label = shortened(f"{tie.event} ?" if tie.style == "dynamic" else tie.event, _LABEL_COLUMNS)
        ports[tie.source].setdefault((tie.event, tie.style), Port(label, tie.style, quiet))
    return ports


def _slot(port: Port) -> float:
    return columns_of(port.label) * _LABEL + 14


def boxes_and_links(graph: Graph, shown: Condensed, geometry: Geometry) -> tuple[Sequence[Box], Sequence[Link]]:
    """What is to be laid out; a box and the names of its events under it are one, and so is a step with its compensation."""
    boxes: list[Box] = []
    for number, piece in enumerate(shown.pieces):
        half = geometry.widths[number] / 2
        right = half + (UNDO_GAP + geometry.width if compensation_of(graph, piece) else 0)
        strip = STRIP if geometry.ports[number] else 0
        boxes.append(Box(key=str(number), left=half, right=right, height=geometry.height + strip))
    links = [
        Link(source=str(tie.source), target=str(tie.target), port=f"{tie.style} {tie.event}", style=tie.style)
        for tie in shown.ties
    ]
    return boxes, links


def compensation_of(graph: Graph, piece: Piece) -> str | None:
    """The key of the compensation that stands beside a piece; None where there is none."""
    other = graph.compensations.get(graph.by_key[piece.keys[0]]) if piece.kind is Kind.STEP else None
    return None if other is None else other.key


def place_ports(shown: Condensed, geometry: Geometry, layout: Layout) -> None:
    """Put the ports of each box in the order of what they lead to, from left to right, centred under it."""
    towards: dict[tuple[int, str, str], list[float]] = defaultdict(list)
    for tie, pieces in zip(shown.ties, layout.routes, strict=True):
        bends = (bend for piece in pieces for bend in (*piece.bends, piece.end) if bend is not None)
        first = next(bends, None)
        x = first.x if first is not None else layout.places[str(tie.target)].x
        towards[tie.source, tie.event, tie.style].append(x)
    for number, ports in enumerate(geometry.ports):
        wanted = {key: sum(xs) / len(xs) for key in ports if (xs := towards[(number, *key)])}
        order = sorted(ports, key=lambda key: wanted[key])
        at = -sum(map(_slot, ports.values())) / 2
        for key in order:
            ports[key].x = at + _slot(ports[key]) / 2
            at += _slot(ports[key])


def port_of(geometry: Geometry, tie: Tie) -> Port:
    """The port of a link."""
    return geometry.ports[tie.source][tie.event, tie.style]
