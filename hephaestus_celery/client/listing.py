"""Listing runs: checks the filters of ``list``, and makes the page that it returns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, TypeGuard, cast

from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.inputs import LONGEST_ID, is_asked_for
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import is_key, is_name
from hephaestus_celery.storage.codec import microseconds
from hephaestus_celery.storage.queries import Query

_CURSOR = re.compile(r"[0-9]{1,20}:[0-9a-f-]{36}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some instances, newest first; iterate over it. ``next_cursor`` is None after the last page."""

    instances: tuple[Instance, ...]
    next_cursor: str | None

    def __iter__(self) -> Iterator[Instance]:
        return iter(self.instances)

    def __len__(self) -> int:
        return len(self.instances)


class RunConditions(TypedDict, total=False):
    """What runs of one workflow are counted by; a filter that is None does not count."""

    status: Status | str | None
    status_in: Iterable[Status | str] | None
    version: int | None
    workflow_family: type[WorkflowDefinition] | str | None
    id: str | None
    tag: str | None
    started_after: datetime | None
    started_before: datetime | None
    waiting_for: str | None
    waiting_since_before: datetime | None
    failed_step: type[Step[Any]] | str | None
    retried: bool | None
    paused: bool | None


class CountFilters(RunConditions, total=False):
    """The filters of ``Hephaestus.count``: those of one workflow's runs, and ``workflow``, a class or a name."""

    workflow: type[WorkflowDefinition] | str | None


class RunFilters(RunConditions, total=False):
    """The filters of ``Workflow.list``: what runs are counted by, and which page of them is asked for."""

    limit: int | None
    cursor: str | None


class ListFilters(RunFilters, total=False):
    """The filters of ``Hephaestus.list``: those of one workflow's runs, and ``workflow``, a class or a name."""

    workflow: type[WorkflowDefinition] | str | None


def read_conditions(filters: Mapping[str, Any], *, call: str) -> Query:
    """Filters of a call that has no pages, as a query; see :func:`read_query`."""
    paged = next((name for name in ("limit", "cursor") if name in filters), None)
    if paged is not None:
        raise TypeError(f"{call} has no pages, so it takes no {paged}")
    return read_query(filters, call=call)


def read_query(filters: Mapping[str, Any], *, call: str = "list") -> Query:
    """Filters as a query; ``TypeError`` for one that does not exist, ``ValueError`` for a value that it can't have."""
    fields: dict[str, Any] = {}
    statuses: frozenset[Status] = frozenset(Status)
    for name, value in filters.items():
        if name not in FILTERS:
            raise TypeError(f"{call} has no filter {shown(name)}; filters are {', '.join(FILTERS)}")
        if value is None:
            continue
        read = FILTERS[name](name, value)
        statuses &= read.pop("statuses", statuses)
        if any(fields.get(field, wanted) != wanted for field, wanted in read.items()):
            statuses = frozenset()  # two filters want different values of one field: no run has both
        fields |= read
    return Query(statuses=statuses, **fields)


def _status(name: str, value: object) -> dict[str, Any]:
    return {"statuses": frozenset({_as_status(name, value)})}


def _status_in(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list of statuses, not {shown(value)}")
    return {"statuses": frozenset(_as_status(name, item) for item in cast("Iterable[object]", value))}


def _as_status(name: str, value: object) -> Status:
    if isinstance(value, str) and value in tuple(Status):
        return Status(value)
    raise ValueError(f"{name} has {shown(value)}, which is no status; one of {', '.join(Status)}")


def _workflow(name: str, value: object) -> dict[str, Any]:
    if is_asked_for(value):
        return {"name": value}
    if not _is_defined(value):
        raise ValueError(f"{name} must be a workflow class or its name, not {shown(value)}")
    if value.versions:
        return {"family": value.name}
    if value.family == value.name:
        return {"name": value.name, "family": value.name}
    return {"name": value.name, "family": value.family, "version": value.version}


def _family(name: str, value: object) -> dict[str, Any]:
    return {"family": value.family if _is_defined(value) else _string(name, value)}


def _is_defined(value: object) -> TypeGuard[type[WorkflowDefinition]]:
    # The root and abstract classes describe no workflow: there is nothing that could be listed of them.
    return isinstance(value, type) and issubclass(value, WorkflowDefinition) and hasattr(value, "family")


def _text(name: str, value: object) -> dict[str, Any]:
    return {name: _string(name, value)}


def _string(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a non-empty string, not {shown(value)}")
    if not is_asked_for(value):
        raise ValueError(
            f"{name} has at most {LONGEST_ID} characters, all of them printable: {shown(value)} can't be one"
        )
    return value


def _event(name: str, value: object) -> dict[str, Any]:
    if not is_name(value):
        raise ValueError(f"{name} must be the name of an event, not {shown(value)}")
    return {name: value}


def _failed_step(name: str, value: object) -> dict[str, Any]:
    key: object = cast("type[Step[Any]]", value).key if _is_step(value) else value
    if not is_key(key):
        raise ValueError(f"{name} must be a step class or its key, not {shown(value)}")
    return {name: key}


def _is_step(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Step)


def _positive(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive int, not {shown(value)}")
    return {name: value}


def _flag(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {shown(value)}")
    return {name: value}


def _moment(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime, not {shown(value)}")
    return {name: microseconds(value)}


def _cursor(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, str) or not _CURSOR.fullmatch(value):
        raise ValueError(f"{name} must be the next_cursor of a page, not {shown(value)}")
    return {name: value}


FILTERS: Mapping[str, Callable[[str, object], dict[str, Any]]] = {
    "status": _status,
    "status_in": _status_in,
    "workflow": _workflow,
    "version": _positive,
    "workflow_family": _family,
    "id": _text,
    "tag": _text,
    "started_after": _moment,
    "started_before": _moment,
    "waiting_for": _event,
    "waiting_since_before": _moment,
    "failed_step": _failed_step,
    "retried": _flag,
    "paused": _flag,
    "limit": _positive,
    "cursor": _cursor,
}
"""What ``list`` can be asked for, and how each is read."""
