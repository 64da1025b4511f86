"""Draws the graph of a workflow, or of a run with how each step stands, as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.definition.layout import lay_out
from hephaestus_celery.pictures.boxes import BoxDrawing
from hephaestus_celery.pictures.condensed import condensed
from hephaestus_celery.pictures.edges import draw_edges, draw_labels
from hephaestus_celery.pictures.geometry import MARGIN, boxes_and_links, measured, place_ports
from hephaestus_celery.pictures.links import Links
from hephaestus_celery.pictures.marks import StepMark
from hephaestus_celery.pictures.markup import element, picture
from hephaestus_celery.pictures.view import GraphView


def graph_svg(
    graph: Graph,
    *,
    title: str,
    marks: Mapping[str, StepMark] | None = None,
    view: GraphView | None = None,
    links: Links | None = None,
    standalone: bool = False,
) -> str:
    """An SVG element with the graph, top down; ``width`` and ``height`` of it are pixels.

    ``marks`` tell how the steps of a run stand, by key; a step without one is not reached. None: no run is told of.
    Of a graph that is larger than ``view`` shows, steps that are alike or follow each other share a box; its link opens it.
    With ``standalone`` it has its stylesheet in it, as a file needs it; a page serves :func:`.stylesheet.stylesheet`.
    """
    view = view or GraphView()

    def word_of(key: str) -> str:
        return "" if marks is None else marks[key].word if key in marks else "not reached"

    shown = condensed(graph, view, word_of)
    geometry = measured(graph, shown, marked=marks is not None)
    layout = lay_out(*boxes_and_links(graph, shown, geometry))
    place_ports(shown, geometry, layout)
    drawing = BoxDrawing(graph=graph, shown=shown, geometry=geometry, marks=marks, view=view, links=links or Links())
    boxes = [drawing.draw(number, layout.places[str(number)]) for number in range(len(shown.pieces))]
    content = [
        element("g", draw_edges(shown, geometry, layout), class_="edges", fill="none", stroke="#6b7280"),
        element("g", boxes, class_="boxes", fill="#fff", stroke="#6b7280"),
        element("g", draw_labels(geometry, layout), class_="events"),
    ]
    return picture(
        ["\n".join((f'<g transform="translate({MARGIN} {MARGIN})">', *content, "</g>"))],
        width=layout.width + 2 * MARGIN,
        height=layout.height + 2 * MARGIN,
        about=(title, _description(graph, marks)),
        kind="graph",
        zoom=view.zoom,
        standalone=standalone,
    )


def _description(graph: Graph, marks: Mapping[str, StepMark] | None) -> str:
    steps = len(graph.topological_order)
    text = f"{steps:,} steps, {len(graph.edges):,} links."
    if marks is None:
        return text
    counts = Counter(mark.word for mark in marks.values())
    return " ".join((text, "; ".join(f"{count:,} {word}" for word, count in counts.most_common())))
