"""The addresses that pictures lead to, as the caller gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hephaestus_celery.pictures.view import GraphView, TimelineView


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """``step`` is asked for the address of a step, by key; ``view`` and ``times`` for that of the graph or timeline in another view.

    None, or a function that gives None: no link.
    """

    step: Callable[[str], str | None] | None = None
    view: Callable[[GraphView], str | None] | None = None
    times: Callable[[TimelineView], str | None] | None = None
