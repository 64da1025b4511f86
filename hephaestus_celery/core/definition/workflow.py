"""Workflows: declared as a class, checked when the class is defined, started through it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from hephaestus_celery.core.definition import validation, versioning
from hephaestus_celery.core.definition.diagram import to_mermaid, to_text
from hephaestus_celery.core.definition.graph import Graph, StepClass, Target
from hephaestus_celery.core.definition.module_path import place_of
from hephaestus_celery.core.definition.registry import RUNTIMES, WORKFLOWS, Runtime
from hephaestus_celery.core.values.cancellation import CancelReport
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.identity import Unique, is_run_id
from hephaestus_celery.core.values.retry import RetryPolicy
from hephaestus_celery.exceptions import ConfigurationError, DefinitionError

if TYPE_CHECKING:
    from hephaestus_celery.core.values.context import Context
    from hephaestus_celery.core.values.instance import Instance

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Route:
    """What ``@route`` noted on a method."""

    source: Any
    event: Any
    targets: Any


def route(source: StepClass, event: str, *, targets: Iterable[Any]) -> Callable[[F], F]:
    """Compute the target of ``event`` of ``source`` with a method ``(context) -> target or list of targets``.

    Only the declared ``targets`` may come back; the context is the run's as the result of ``source`` is applied, that
    result included. The method must be pure: where another branch commits at the same moment it is called again.
    """

    def note(method: F) -> F:
        function = inspect.unwrap(getattr(method, "__func__", method))
        function.__hephaestus_route__ = Route(source, event, targets)  # type: ignore[attr-defined]
        return method

    return note


class Workflow:
    """A DAG of steps; subclass it and declare ``unique``, ``initial_step`` (a step, or a list of them) and ``transitions``.

    Defining the subclass checks it: ``DefinitionError`` lists every problem found. ``class Base(Workflow,
    abstract=True)`` is not checked and only hands its attributes down. An umbrella declares ``versions`` and
    ``current`` in the place of steps.
    """

    unique: ClassVar[Unique]
    initial_step: ClassVar[Any]
    transitions: ClassVar[Mapping[Any, Any]] = {}
    tags: ClassVar[Sequence[str]] = ()
    metadata: ClassVar[Mapping[str, Any]] = {}
    version: ClassVar[int] = 1
    default_retry: ClassVar[RetryPolicy | None] = None
    name: ClassVar[str]
    hephaestus: ClassVar[Any] = None
    versions: ClassVar[Mapping[int, type[Workflow]]] = {}
    current: ClassVar[int]

    graph: ClassVar[Graph]
    """The checked graph; an umbrella has that of its current version."""
    family: ClassVar[str]
    """The name that identities are counted under: the umbrella's, or the workflow's own."""
    _routes: ClassVar[dict[tuple[StepClass, str], str]] = {}

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("version_for")
        if isinstance(own, FunctionType):
            cls.version_for = classmethod(own)  # type: ignore[assignment] - it is one, whether it says so or not
        if abstract:
            return
        if "name" not in cls.__dict__:
            versioning.UNNAMED.add(cls)
            cls.name = place_of(cls)
        cls.family = cls.name
        cls._routes = {}
        if "versions" in cls.__dict__:
            problems = versioning.check_umbrella(cls)
            if problems:
                raise DefinitionError(cls.__qualname__, problems)
            versioning.adopt(cls)
            return
        checked = validation.check(cls, _routes_of(cls))
        if checked.graph is None:
            raise DefinitionError(cls.__qualname__, checked.problems)
        cls.graph = checked.graph
        cls._routes = checked.routes
        WORKFLOWS.add(cls)

    @classmethod
    def targets(cls, source: StepClass, event: str, context: Context) -> tuple[Target, ...]:
        """Where ``event`` of ``source`` leads; calls the ``@route`` method where there is one.

        Raises ``RouteError`` (a ``ValueError``) naming the method and the value when it gives anything but declared
        targets, or the event when it leads nowhere; and whatever the method raises.
        """
        declared = cls.graph.table.get((source, event))
        if declared is None:
            raise validation.RouteError(
                f"step {source.key} ({source.__name__}) gave the event {shown(event)}, which has no transition"
            )
        method = cls._routes.get((source, event))
        if method is None:
            return declared
        return validation.chosen(method, _call_route(cls, method, context), declared)

    @classmethod
    def retry_policy(cls, step: StepClass, default: RetryPolicy) -> RetryPolicy:
        """The step's policy, else the workflow's, else ``default``."""
        return step.retry or cls.default_retry or default

    @classmethod
    def to_mermaid(cls) -> str:
        """The graph as a Mermaid flowchart."""
        return to_mermaid(cls.graph)

    @classmethod
    def to_text(cls) -> str:
        """The graph as lines of text, in topological order."""
        return to_text(cls.graph)

    @classmethod
    def version_for(cls, versions: Mapping[int, type[Workflow]], options: Mapping[str, Any]) -> int | None:
        """Override in an umbrella to choose the version of a new instance from the options of its start."""
        del versions, options
        return None

    @classmethod
    def start(cls, value: str, context: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Start the instance ``key::value`` and give its handle; see ``Hephaestus.start_instance``."""
        return cls._runtime().start_instance(cls, context, id=value, **options)

    @classmethod
    def resume(
        cls,
        value: str,
        event: str,
        data: Mapping[str, Any] | None = None,
        *,
        step: StepClass | str | None = None,
        keep_early: bool = False,
        key: str | None = None,
    ) -> None:
        """Deliver an event to a waiting step of an instance; see ``Hephaestus.resume``."""
        instance_id = cls._id(value, "resume")
        cls._runtime().resume(instance_id, event, data, step=step, workflow=cls, keep_early=keep_early, key=key)

    @classmethod
    def get(cls, value: str) -> Instance:
        """The active run of an instance, else its newest; see ``Hephaestus.get``."""
        return cls._runtime().get(cls._id(value, "get"), workflow=cls)

    @classmethod
    def cancel(cls, value: str, reason: str | None = None, *, terminate: bool = False) -> CancelReport:
        """End a run; see ``Hephaestus.cancel``."""
        return cls._runtime().cancel(cls._id(value, "cancel"), reason, terminate=terminate, workflow=cls)

    @classmethod
    def list(cls, **filters: Any) -> Any:
        """A page of this workflow's runs (of all its versions), newest first; see ``Hephaestus.list``.

        ``id`` may be the value alone.
        """
        value = filters.get("id")
        if (
            isinstance(value, str)
            and "::" not in value
            and not is_run_id(value)
            and isinstance(getattr(cls, "unique", None), Unique)
        ):
            filters["id"] = f"{cls.unique.key}::{value}"
        return cls._runtime().list(workflow=cls, **filters)

    @classmethod
    def _runtime(cls) -> Runtime:
        return RUNTIMES.of(cls)

    @classmethod
    def _id(cls, value: str, call: str) -> str:
        if is_run_id(value):
            return value
        if getattr(cls, "unique", None) is None:
            raise ConfigurationError(
                f"{cls.__qualname__} has no unique: it is meant to be a version of an umbrella, which no class has made it"
            )
        if isinstance(value, str) and value.startswith(f"{cls.unique.key}::"):
            return value  # an instance id taken whole
        if cls.unique.scope == "none":
            raise ConfigurationError(
                f"{cls.__qualname__}.{call} can't tell which run {shown(value)} means: its scope is 'none', every start has "
                f"an id of its own. Use the handle that start gave, or its run_id"
            )
        return cls.unique.instance_id(value, suffix="")


def _routes_of(workflow: type[Workflow]) -> dict[str, Route]:
    found: dict[str, Route] = {}
    for name in dir(workflow):
        attribute = inspect.getattr_static(workflow, name)
        function = inspect.unwrap(getattr(attribute, "__func__", attribute))
        noted = getattr(function, "__hephaestus_route__", None)
        if isinstance(noted, Route):
            found[name] = noted
    return found


def _call_route(workflow: type[Workflow], name: str, context: Context) -> object:
    attribute = inspect.getattr_static(workflow, name)
    if isinstance(attribute, (staticmethod, classmethod)):
        return getattr(workflow, name)(context)
    function = cast("Callable[..., object]", attribute)
    wants_self = len(inspect.signature(function).parameters) > 1
    return function(workflow(), context) if wants_self else function(context)
