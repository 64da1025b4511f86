"""How a step stands, as pictures show it: each standing has a colour and a shape of its own."""

from __future__ import annotations

from dataclasses import dataclass

from hephaestus_celery.pictures.markup import element


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMark:
    """How a step stands: ``word`` is one of :data:`SHAPES`, ``detail`` what else is told in its second line."""

    word: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The class of a standing in the stylesheet, and its icon, on 16 by 16 pixels: an outer shape and what is in it."""

    name: str
    outer: str
    inner: str = ""


_CIRCLE = "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13z"
_OCTAGON = "M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3L1.5 10.7V5.3z"
_SQUARE = "M2.5 2.5h11v11h-11z"
_DIAMOND = "M8 1L15 8L8 15L1 8z"
_CROSS = "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2"

SHAPES = {
    "completed": Shape(name="completed", outer=_CIRCLE, inner="M4.8 8.3l2.3 2.3l4.2-4.8"),
    "failed, went on": Shape(name="went-on", outer="M8 1.5L15 14H1z", inner="M8 6v4M8 11.6v.6"),
    "executing": Shape(name="executing", outer=_CIRCLE, inner="M6.3 5v6l4.8-3z"),
    "queued": Shape(name="queued", outer=_CIRCLE, inner="M8 4.6V8l2.4 1.6"),
    "held": Shape(name="held", outer=_SQUARE, inner="M6.2 5.2v5.6M9.8 5.2v5.6"),
    "backing off": Shape(name="backing-off", outer=_SQUARE, inner="M11 8a3 3 0 1 1-1.2-2.4M10.6 3.6l-.6 2.2l-2.1-.6"),
    "waiting": Shape(name="waiting", outer=_DIAMOND, inner="M6 5.5h4l-4 5h4z"),
    "failed": Shape(name="failed", outer=_OCTAGON, inner=_CROSS),
    "skipped": Shape(name="skipped", outer="M2.5 6.5h11v3h-11z"),
    "stopped": Shape(name="stopped", outer=_SQUARE, inner="M5.5 5.5h5v5h-5z"),
    "not reached": Shape(name="not-reached", outer="M8 5.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 1 0 0-5z"),
    "undoing": Shape(name="undoing", outer="M1 8l6-6v3.2h8v5.6H7V14z"),
    "undone": Shape(name="undone", outer="M1 8l6-6v3.2h8v5.6H7V14z"),
}
"""The standings, by their words. ``held``: kept by a pause. ``undoing``: a compensation at work; ``undone``: one that has ended well."""
URGENCY = (
    "failed",
    "failed, went on",
    "undoing",
    "backing off",
    "executing",
    "waiting",
    "held",
    "queued",
    "undone",
    "completed",
    "stopped",
    "skipped",
    "not reached",
)
"""The standings in the order in which they want to be seen."""
CALM = frozenset({"completed", "skipped", "stopped", "not reached", "undone", ""})
"""Standings of which many may be told of together."""


def icon(word: str, *, x: float, y: float) -> str:
    """The icon of a standing, 16 pixels wide; its colour is that of the group around it."""
    shape = SHAPES[word]
    inner = [element("path", class_="inner", d=shape.inner)] if shape.inner else []
    outer = element("path", class_="outer", d=shape.outer)
    return element("g", [outer, *inner], class_="icon", transform=f"translate({x:g} {y:g})")


def shape_class(word: str) -> str:
    """The class of a standing in the stylesheet."""
    return f"s-{SHAPES[word].name}" if word else "s-none"
