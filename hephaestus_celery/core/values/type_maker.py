"""Where declared types come from: the package names an implementation, which the first class with a type loads.

It is a module of its own, since whoever imports the package imports it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hephaestus_celery.core.values.data_types import DataType

    Maker = Callable[[object], DataType]

_found_by: list[Callable[[], Maker]] = []


def provide(find: Callable[[], Maker]) -> None:
    """Name the implementation: ``find`` loads what makes a ``DataType`` of a declared type. ``ImportError`` if it can't."""
    _found_by[:] = [find]


def maker() -> Maker:
    """What makes a ``DataType`` of a declared type; ``ImportError`` where that needs what is not installed."""
    if not _found_by:
        raise ImportError("nothing provides declared types")
    return _found_by[0]()
