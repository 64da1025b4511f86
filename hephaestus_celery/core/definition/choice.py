"""Checks what a ``@route`` method returned against the targets that it declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from hephaestus_celery.core.definition.declarations import as_target, label
from hephaestus_celery.core.definition.graph import StepClass, Target
from hephaestus_celery.core.definition.soundness import config_problems
from hephaestus_celery.core.values.formatting import listed
from hephaestus_celery.exceptions import NonRetryableError


class RouteError(NonRetryableError, ValueError):
    """A ``@route`` method returned an undeclared target, or an event leads nowhere; another attempt would not help."""


def chosen(method: str, given: object, declared: Sequence[Target]) -> tuple[Target, ...]:
    """The targets that a ``@route`` method returned; :class:`RouteError` unless all of them were declared."""
    items = cast("Sequence[object]", given) if isinstance(given, list) else [given]
    known = {target.step: target for target in declared}
    result: dict[StepClass, Target] = {}
    for item in items:
        target = as_target(item)
        if target is None or target.step not in known:
            names = listed([step.__name__ for step in known])
            raise RouteError(f"route {method} gave {label(item)}, which is none of its targets ({names})")
        if target.step in result:
            raise RouteError(f"route {method} gave {target.step.__name__} twice")
        result[target.step] = target if target.config is not None else known[target.step]
    if not result:
        raise RouteError(f"route {method} gave no target")
    for target in result.values():
        if problems := config_problems(target):
            raise RouteError(f"route {method}: {problems[0]}")
    return tuple(result.values())
