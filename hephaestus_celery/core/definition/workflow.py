"""What a workflow class declares, and what follows from it: targets, retry policies, pictures of its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from hephaestus_celery.core.definition.choice import RouteError, chosen
from hephaestus_celery.core.definition.declared_types import declared_type
from hephaestus_celery.core.definition.diagram import to_mermaid, to_text
from hephaestus_celery.core.definition.graph import Graph, StepClass, Target
from hephaestus_celery.core.definition.route import call_route
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.data_types import Data
from hephaestus_celery.core.values.declared import DeclaredWorkflow
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.identity import Unique
from hephaestus_celery.core.values.retry import RetryPolicy

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # for checkers, which know it: that of Python has defaults from 3.13 on

    InputT = TypeVar("InputT", bound=Data, default=dict[str, Any])
else:
    from typing import TypeVar

    InputT = TypeVar("InputT")


class WorkflowDefinition(DeclaredWorkflow):
    """What a workflow class declares, and what follows from it; :mod:`.define` checks a class and completes it.

    The public class, ``Workflow``, adds what starts and reads runs.
    """

    unique: ClassVar[Unique]
    """The key and the scope of instance ids."""
    initial_step: ClassVar[Any]
    """A step, ``(step, config)``, or a list of them."""
    transitions: ClassVar[Mapping[Any, Any]] = {}
    """Maps ``(step, event)``, or a step that has one event, to a target, or to a list of targets."""
    joins: ClassVar[Mapping[Any, Any]] = {}
    """Maps a step to how many of its predecessors must come before it starts: a number, ``"all"`` or ``"any"``."""
    deadline: ClassVar[float | timedelta | None] = None
    """How long after its start a run that has not ended fails (seconds or a timedelta); None: it may take any time."""
    compensations: ClassVar[Mapping[Any, Any]] = {}
    """Maps a step to the step that undoes it when the run does not complete."""
    default_retry: ClassVar[RetryPolicy | None] = None
    """The policy of steps that have none; None: the setting ``hephaestus_default_retry``."""
    hephaestus: ClassVar[Any] = None
    versions: ClassVar[Mapping[int, type[WorkflowDefinition]]] = {}
    """The workflows of an umbrella, by version."""
    current: ClassVar[int]
    """The version that an umbrella starts."""

    gives_result: ClassVar[bool] = False
    """Whether it has a static or class method ``result(context)``, which gives the result of a run."""
    graph: ClassVar[Graph]
    """The checked graph; an umbrella has that of its current version."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("version_for")
        if isinstance(own, FunctionType):
            cls.version_for = classmethod(own)  # type: ignore[assignment] - it is one, whether it says so or not

    @classmethod
    def find_step(cls, key: str) -> StepClass | None:
        return cls.graph.by_key.get(key)

    @classmethod
    def step_names(cls) -> Sequence[str]:
        return [step.__name__ for step in cls.graph.by_key.values()]

    @classmethod
    def targets(cls, source: StepClass, event: str, context: Context[Any]) -> tuple[Target, ...]:
        """The targets of ``event`` of ``source``; calls the ``@route`` method if there is one.

        Raises ``RouteError`` (a ``ValueError``) naming the method and the value when it returns anything but declared
        targets, or the event when it leads nowhere; and whatever the method raises.
        """
        declared = cls.graph.table.get((source, event))
        if declared is None:
            raise RouteError(
                f"step {source.key} ({source.__name__}) gave the event {shown(event)}, which has no transition"
            )
        method = cls.graph.dynamic.get((source, event))
        if method is None:
            return declared
        return chosen(method, call_route(cls, method, context), declared)

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
    def version_for(cls, versions: Mapping[int, Any], options: Mapping[str, Any]) -> int | None:
        """Override in an umbrella to choose the version of a new instance from the options of its start."""
        del versions, options
        return None


class TypedWorkflow(WorkflowDefinition, Generic[InputT]):
    """A workflow whose initial context may have a type: ``Workflow[Order]``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__data_type__ = declared_type(cls, TypedWorkflow)
