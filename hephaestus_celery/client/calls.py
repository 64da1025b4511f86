"""What the calls of each topic stand on: the means of a runtime, the runtime of a workflow class or of a handle."""

from __future__ import annotations

from typing import TypeVar, cast

from hephaestus_celery.client.means import Means
from hephaestus_celery.client.runtimes import RUNTIMES, Runtime
from hephaestus_celery.clock import Chance
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.exceptions import ConfigurationError

T = TypeVar("T")


class RuntimeCalls:
    """The calls of a topic, of ``Hephaestus``: each runs its coroutine at once, with means that never suspend."""

    name: str
    _chance: Chance

    def _means(self) -> Means:
        """What calls work with; made when it is first needed."""
        raise NotImplementedError

    def _check_open(self) -> None:
        """Refuse a start where the runtime is closed."""
        raise NotImplementedError


class WorkflowCalls(WorkflowDefinition):
    """The calls of a topic, of a workflow class: those of its runtime, with a value in the place of an id."""

    @classmethod
    def _runtime(cls, calls: type[T]) -> T:
        """The runtime to use, as one that has these calls."""
        del calls
        return cast("T", RUNTIMES.of(cls))  # nothing else enters the registry

    @classmethod
    def _id(cls, value: str, call: str) -> str:
        """The instance id, or the run id, that a value means to a call."""
        if is_run_id(value):
            return value
        if getattr(cls, "unique", None) is None:
            raise ConfigurationError(
                f"{cls.__qualname__} has no unique, so it is meant to be a version of an umbrella; but none lists it"
            )
        if isinstance(value, str) and value.startswith(f"{cls.unique.key}::"):
            return value  # an instance id taken whole
        if cls.unique.scope == "none":
            raise ConfigurationError(
                f"{cls.__qualname__}.{call} can't tell which run {shown(value)} means: its scope is 'none', every start has "
                f"an id of its own. Use the handle that start gave, or its run_id"
            )
        return cls.unique.instance_id(value, suffix="")


class HandleCalls:
    """The calls of a topic, of a handle: those of its runtime, for its run."""

    run_id: str
    hephaestus: Runtime

    def _runtime(self, calls: type[T]) -> T:
        """The runtime of the handle, as one that has these calls."""
        del calls
        return cast("T", self.hephaestus)
