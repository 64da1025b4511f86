"""Draws the links of a graph: curves that run between the rows and straight down through them, with arrows and names."""

from __future__ import annotations

from collections.abc import Iterator

from hephaestus_celery.core.definition.layout_values import Bend, Layout, Route
from hephaestus_celery.pictures.condensed import Condensed, Tie
from hephaestus_celery.pictures.geometry import STRIP, Geometry, port_of
from hephaestus_celery.pictures.markup import element, text

_ARROW = 7
_CROOKED = 2
"""Pixels by which a straight line may miss what it leads to."""


def draw_edges(shown: Condensed, geometry: Geometry, layout: Layout) -> Iterator[str]:
    """The paths of all links, each stretch once."""
    for tie, pieces in zip(shown.ties, layout.routes, strict=True):
        for route in pieces:
            yield from _draw_piece(tie, route, geometry, layout)


def _draw_piece(tie: Tie, route: Route, geometry: Geometry, layout: Layout) -> Iterator[str]:
    source, target = layout.places[str(tie.source)], layout.places[str(tie.target)]
    if route.start is None:
        pen = _Pen(source.x + port_of(geometry, tie).x, source.y + geometry.height)
        pen.down(source.below)
    else:
        pen = _Pen(route.start.x, route.start.bottom)
    pen.through(route)
    if route.end is None:
        pen.curve(target.x, target.y - _ARROW)
    yield element("path", class_=f"edge {tie.style}", d=pen.path)
    if route.end is None:
        yield element("path", class_=f"arrow {tie.style}", d=f"M{pen.x - 4:g} {pen.y:g}h8l-4 {_ARROW}z")


def draw_labels(geometry: Geometry, layout: Layout) -> Iterator[str]:
    """The name of each event, once, under the box that it leaves."""
    for number, ports in enumerate(geometry.ports):
        place = layout.places[str(number)]
        for port in ports.values():
            if port.label:
                kind = "quiet" if port.quiet else port.style
                yield text(
                    port.label, x=place.x + port.x, y=place.y + geometry.height + STRIP - 6, class_=f"event {kind}"
                )


class _Pen:
    """Draws a path, with curves that begin and end straight down."""

    def __init__(self, x: float, y: float) -> None:
        self.x, self.y = x, y
        self.path = f"M{x:g} {y:g}"

    def down(self, y: float) -> None:
        if y > self.y:
            self.path += f"V{y:g}"
            self.y = y

    def curve(self, x: float, y: float) -> None:
        if abs(x - self.x) <= _CROOKED:
            self.down(y)
            return
        middle = (self.y + y) / 2
        self.path += f"C{self.x:g} {middle:g} {x:g} {middle:g} {x:g} {y:g}"
        self.x, self.y = x, y

    def through(self, route: Route) -> None:
        for bend in route.bends:
            self.curve(bend.x, bend.top)
            self.down(bend.bottom)
        if isinstance(route.end, Bend):
            self.curve(route.end.x, route.end.top)
