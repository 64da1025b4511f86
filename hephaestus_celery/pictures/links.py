"""The addresses that pictures lead to, as the caller gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hephaestus_celery.pictures.view import GraphView


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """``step`` is asked for the address of a step, by key, and ``view`` for that of the same picture in another view.

    None, or a function that gives None: no link.
    """

    step: Callable[[str], str | None] | None = None
    view: Callable[[GraphView], str | None] | None = None
