"""A graph as it is drawn: the pieces that a view shows, each a step or a fold of several, and the links between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from hephaestus_celery.core.definition.graph import Edge, Graph
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.pictures.folding import Kind, Piece, folded, opened
from hephaestus_celery.pictures.view import GraphView

_MARKED = 12
"""Steps that a search takes out of their folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """A link between pieces, by their numbers: ``event`` is what it says, ``style`` is ``plain``, ``failed`` or ``dynamic``."""

    source: int
    target: int
    event: str
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Condensed:
    """``pieces`` stand in topological order. ``found`` are the keys of the steps that the view looks for."""

    pieces: Sequence[Piece]
    ties: Sequence[Tie]
    found: frozenset[str]


def condensed(graph: Graph, view: GraphView, word_of: Callable[[str], str]) -> Condensed:
    """What ``view`` shows of a graph; ``word_of`` gives the standing of a step, empty where none is told."""
    keys = [step.key for step in graph.topological_order]
    found = _found(graph, view.find)
    if view.most is None or len(keys) <= view.most:
        shown: Sequence[Piece] = [Piece(Kind.STEP, (key,), frozenset((word_of(key),))) for key in keys]
    else:
        edges = [(edge.source.key, f"{_style(edge)} {edge.event}", edge.target.key) for edge in graph.edges]
        apart = frozenset([key for key in keys if key in found][:_MARKED])
        roots = folded(keys, edges, most=view.most, word_of=word_of, apart=apart)
        shown = opened(roots, frozenset(view.opened), most=view.most)
    holder = {key: number for number, piece in enumerate(shown) for key in piece.keys}
    ties = _ties(graph.edges, shown, holder)
    order = _ordered(len(shown), ties)
    place = {number: index for index, number in enumerate(order)}
    moved = [Tie(source=place[tie.source], target=place[tie.target], event=tie.event, style=tie.style) for tie in ties]
    return Condensed(pieces=[shown[number] for number in order], ties=moved, found=found)


def _found(graph: Graph, text: str) -> frozenset[str]:
    text = text.strip().casefold()
    if not text:
        return frozenset()
    return frozenset(
        key for key, step in graph.by_key.items() if text in key.casefold() or text in step.__name__.casefold()
    )


def _style(edge: Edge) -> str:
    return "dynamic" if edge.dynamic else "failed" if edge.event == FAILED else "plain"


def _ties(edges: Sequence[Edge], pieces: Sequence[Piece], holder: Mapping[str, int]) -> Sequence[Tie]:
    """The links between different pieces, each once; what a fold's links say only where they all say the same."""
    between: dict[tuple[int, str], dict[tuple[int, str], None]] = defaultdict(dict)
    said: dict[tuple[int, str], set[str]] = defaultdict(set)
    for edge in edges:
        source, target = holder[edge.source.key], holder[edge.target.key]
        if source != target:
            said[source, _style(edge)].add(edge.event)
            between[source, _style(edge)][target, edge.event] = None
    ties: dict[Tie, None] = {}
    for (source, style), targets in between.items():
        quiet = pieces[source].kind is not Kind.STEP and len(said[source, style]) > 1
        for target, event in targets:
            ties[Tie(source=source, target=target, event="" if quiet else event, style=style)] = None
    return list(ties)


def _ordered(count: int, ties: Sequence[Tie]) -> Sequence[int]:
    """A topological order of the pieces, near to the order that they have."""
    before: dict[int, list[int]] = {number: [] for number in range(count)}
    for tie in ties:
        before[tie.target].append(tie.source)
    return list(TopologicalSorter(before).static_order())
