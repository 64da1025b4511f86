"""The method ``result`` of a workflow: what a run gives when it completes. Its check, and its call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

from hephaestus_celery.core.definition.signatures import spelled, takes
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.formatting import shown

NAME = "result"
"""The name of the method."""
_FORMS = "@staticmethod above def result(context), or @classmethod above def result(cls, context)"


def gives_result(workflow: type) -> bool:
    """Whether a workflow has a method ``result``; a step that is defined in its body under that name is none."""
    found: object = inspect.getattr_static(workflow, NAME, None)
    return found is not None and not (isinstance(found, type) and issubclass(found, Step))


def problem_with_result(workflow: type) -> str | None:
    """What is wrong with the method ``result`` of a workflow; None if nothing is, or it has none."""
    if not gives_result(workflow):
        return None
    found: object = inspect.getattr_static(workflow, NAME)
    if isinstance(found, FunctionType):
        return f"result: {spelled(found)} is a plain function, and no workflow is ever instantiated: write {_FORMS}"
    of_class = isinstance(found, classmethod)
    function: object = cast("Any", found).__func__ if of_class or isinstance(found, staticmethod) else None
    if not callable(function):
        what = shown(inspect.getattr_static(workflow, NAME))
        return f"result must be a static or class method that gives a mapping, not {what}: write {_FORMS}"
    return _misfit(function, of_class=of_class)


def _misfit(function: Callable[..., object], *, of_class: bool) -> str | None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "result is an async def, and nothing can be awaited where a run completes: let a step before read what takes time"
    if inspect.isgeneratorfunction(function):
        return "result is a generator function, and must return a mapping"
    if isinstance(function, FunctionType) and not takes(function, 2 if of_class else 1):
        return f"result: {spelled(function)} must be {'result(cls, context)' if of_class else 'result(context)'}"
    return None


def call_result(workflow: type, context: Context[Any]) -> object:
    """What the method ``result`` of a workflow gives in this context; raises whatever it raises."""
    method = cast("Callable[[Context[Any]], object]", getattr(workflow, NAME))
    return method(context)
