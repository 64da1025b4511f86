"""The decorator ``@route``: a method of the workflow computes the targets of a transition."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from hephaestus_celery.core.definition.graph import StepClass
from hephaestus_celery.core.values.context import Context

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Route:
    """What ``@route`` noted on a method."""

    source: Any
    event: Any
    targets: Any


def route(source: StepClass, event: str | None = None, *, targets: Iterable[Any]) -> Callable[[F], F]:
    """Compute the target of ``event`` of ``source`` with a method ``(context) -> target or list of targets``.

    A step with one event needs no name of it: ``@route(Reserve, targets=[...])``.
    It may return only the declared ``targets``. The context is that of the moment when the result of ``source`` is applied, that
    result included. The method must be pure: where another branch commits at the same moment it is called again.
    """

    def note(method: F) -> F:
        function = inspect.unwrap(getattr(method, "__func__", method))
        function.__hephaestus_route__ = Route(source, event, targets)  # type: ignore[attr-defined]
        return method

    return note


def routes_of(workflow: type) -> dict[str, Route]:
    """What ``@route`` noted on the methods of a workflow, by the name of the method."""
    found: dict[str, Route] = {}
    for name in dir(workflow):
        attribute = inspect.getattr_static(workflow, name)
        function = inspect.unwrap(getattr(attribute, "__func__", attribute))
        noted = getattr(function, "__hephaestus_route__", None)
        if isinstance(noted, Route):
            found[name] = noted
    return found


def call_route(workflow: type, name: str, context: Context[Any]) -> object:
    """What the method of this name gives: it may be static, of the class, or of an instance."""
    attribute = inspect.getattr_static(workflow, name)
    if isinstance(attribute, (staticmethod, classmethod)):
        return getattr(workflow, name)(context)
    function = cast("Callable[..., object]", attribute)
    wants_self = len(inspect.signature(function).parameters) > 1
    return function(workflow(), context) if wants_self else function(context)
