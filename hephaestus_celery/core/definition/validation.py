"""The checks that a workflow class passes when it is defined.

Every problem is found before any is reported.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import cast

from hephaestus_celery.core.definition.compensations import check_compensations, read_compensations
from hephaestus_celery.core.definition.counted_joins import check_joins, numbers_of, read_joins
from hephaestus_celery.core.definition.declarations import (
    Draft,
    read_initials,
    read_route,
    read_transitions,
)
from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.definition.lone_steps import name_events
from hephaestus_celery.core.definition.route import Route
from hephaestus_celery.core.definition.run_result import problem_with_result
from hephaestus_celery.core.definition.signatures import spelled, takes
from hephaestus_celery.core.definition.soundness import check_graph
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.identity import Unique
from hephaestus_celery.core.values.json_values import check_mapping
from hephaestus_celery.core.values.retry import RetryPolicy, seconds
from hephaestus_celery.core.values.spelling import misspelt, nearest
from hephaestus_celery.exceptions import DataError

OPTIONS = frozenset(
    [
        "unique",
        "initial_step",
        "transitions",
        "joins",
        "compensations",
        "tags",
        "metadata",
        "version",
        "default_retry",
        "deadline",
        "name",
        "hephaestus",
        "versions",
        "current",
    ]
)

_KNOWN = OPTIONS | {
    "graph",
    "family",
    "gives_result",
    "result",
}  # the others are set here, on a workflow that is subclassed
LONGEST_NAME = 500
"""Characters of the name of a workflow, and of a tag."""
SHORTEST_DEADLINE = 1e-6
"""Seconds: the store counts in microseconds."""
_METHODS = frozenset(["version_for", "result"])
_OFFERED = OPTIONS | {"result"}
"""What a value may have been meant to be: no step is meant to be a ``result``, so it is none of the options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A graph, or the problems that stand in its way."""

    graph: Graph | None
    problems: tuple[str, ...]


def check(workflow: type[WorkflowDefinition], routes: Mapping[str, Route]) -> Checked:
    """Check a workflow's class attributes and its graph."""
    draft = Draft()
    _check_options(workflow, draft)
    _check_unique(workflow, draft)
    read_initials(getattr(workflow, "initial_step", None), draft)
    read_transitions(workflow.transitions, draft)
    for name, noted in routes.items():
        read_route(name, noted, draft)
        _check_route(workflow, name, draft)
    misfit = problem_with_result(workflow)
    if misfit is not None:
        draft.report(misfit)
    name_events(draft)
    read_joins(workflow.joins, draft)
    read_compensations(workflow.compensations, draft)
    check_graph(draft)
    check_joins(draft)
    check_compensations(draft)
    if draft.problems:
        return Checked(graph=None, problems=tuple(draft.problems))
    graph = Graph(
        initials=draft.initials,
        table=draft.table,
        dynamic=draft.routes,
        joins=numbers_of(draft),
        compensations=draft.compensations,
    )
    return Checked(graph=graph, problems=())


def check_options(workflow: type[WorkflowDefinition]) -> tuple[str, ...]:
    """What is wrong with the class attributes that an umbrella has as well as any other workflow, a sentence each."""
    draft = Draft()
    _check_options(workflow, draft)
    return tuple(draft.problems)


def _check_options(workflow: type[WorkflowDefinition], draft: Draft) -> None:
    _check_unknown(workflow, draft)
    _check_tags(workflow, draft)
    try:
        check_mapping(workflow.metadata, "metadata")
    except DataError as error:
        draft.report(str(error))
    if not _is_version(workflow.version):
        draft.report(f"version must be a positive int, not {shown(workflow.version)}")
    retry: object = workflow.default_retry
    if retry is not None and not isinstance(retry, RetryPolicy):
        draft.report(f"default_retry must be a RetryPolicy or None, not {shown(retry)}")
    _check_deadline(workflow, draft)
    name: object = workflow.name
    if not isinstance(name, str) or not name or not name.isprintable() or " " in name or "|" in name:
        draft.report(f"name must be a non-empty printable string without white space or |, not {shown(name)}")
    elif len(name) > LONGEST_NAME:
        draft.report(f"name has at most {LONGEST_NAME} characters, and not {len(name)}: {shown(name)}")


def _check_deadline(workflow: type[WorkflowDefinition], draft: Draft) -> None:
    if workflow.deadline is None:
        return
    try:
        if seconds(workflow.deadline, name="deadline") < SHORTEST_DEADLINE:
            draft.report(f"deadline must be more than nothing, not {shown(workflow.deadline)}")
    except ValueError as error:
        draft.report(str(error))


def _check_unique(workflow: type[WorkflowDefinition], draft: Draft) -> None:
    unique: object = getattr(workflow, "unique", None)
    if unique is None:
        if not _is_member_to_be(workflow):
            draft.report("unique is missing: declare unique = Unique('key')")
    elif not isinstance(unique, Unique):
        draft.report(f"unique must be a Unique('key'), not {shown(unique)}")


def _check_route(workflow: type[WorkflowDefinition], name: str, draft: Draft) -> None:
    method = inspect.getattr_static(workflow, name)
    if isinstance(method, FunctionType) and not (takes(method, 1) or takes(method, 2)):
        draft.report(f"route {name}: {spelled(method)} must be {name}(context)")


def _is_member_to_be(workflow: type[WorkflowDefinition]) -> bool:
    # A version of an umbrella inherits `unique` from it, but is defined before it. A class counts as such a version if it has
    # its own `version`, or is in the body of another class. It can't be started until an umbrella adopts it.
    parent = workflow.__qualname__.rpartition(".")[0]
    nested = bool(parent) and not parent.endswith("<locals>")
    return nested or _is_version(workflow.__dict__.get("version"))


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_unknown(workflow: type[WorkflowDefinition], draft: Draft) -> None:
    for ancestor in workflow.__mro__:
        if ancestor is WorkflowDefinition:
            break
        for name, value in vars(ancestor).items():
            if name.startswith("_") or name.isupper() or name in _KNOWN:
                continue
            meant, own = _meant(name, value)
            if meant is not None:
                draft.report(f"{name} is no option of a workflow; did you mean {meant}?")
            elif not own:
                draft.report(f"{name} is no option of a workflow; options are {', '.join(sorted(_OFFERED))}")


def _meant(name: str, value: object) -> tuple[str | None, bool]:
    """The option that an unknown attribute was meant to be, and whether it may be the user's own after all."""
    if isinstance(value, type):
        # A class that is defined in the workflow's body has its own name; any other was given one.
        return (None if value.__name__ == name else misspelt(name, OPTIONS)), True
    if isinstance(value, (FunctionType, staticmethod, classmethod)):
        return misspelt(name, _METHODS), True
    if isinstance(value, property) or inspect.isdatadescriptor(value):
        return None, True
    return nearest(name, _OFFERED), False


def _check_tags(workflow: type[WorkflowDefinition], draft: Draft) -> None:
    tags: object = workflow.tags
    if not isinstance(tags, (tuple, list, set, frozenset)):
        draft.report(f"tags must be a list or tuple of strings, not {shown(tags)}")
        return
    for tag in cast("Iterable[object]", tags):
        if not isinstance(tag, str) or not tag or not tag.isprintable():
            draft.report(f"tags has {shown(tag)}; tags are non-empty printable strings")
        elif len(tag) > LONGEST_NAME:
            draft.report(f"tags has {shown(tag)}; a tag has at most {LONGEST_NAME} characters")
