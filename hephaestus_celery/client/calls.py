"""What the calls of each topic stand on: the means of a runtime, the runtime of a workflow class or of a handle."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from hephaestus_celery.client.means import Means
from hephaestus_celery.client.resolve import read_run
from hephaestus_celery.client.runtimes import RUNTIMES, Runtime
from hephaestus_celery.clock import Chance
from hephaestus_celery.core.definition.workflow import InputT, TypedWorkflow, WorkflowDefinition
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.exceptions import ConfigurationError

T = TypeVar("T")


class TopicCalls:
    """What the calls of a topic find in a runtime, with and without an event loop."""

    name: str
    _chance: Chance

    def _means(self) -> Means:
        """What calls work with; made when it is first needed."""
        raise NotImplementedError

    def _check_open(self) -> None:
        """Refuse a start where the runtime is closed."""
        raise NotImplementedError


class RuntimeCalls(TopicCalls):
    """The calls of a topic, of ``Hephaestus``: each runs its coroutine at once, with means that never suspend."""

    @property
    def aio(self) -> object:
        """The same calls, for event loops."""
        raise NotImplementedError


class AioCalls(TopicCalls):
    """The calls of a topic, of ``Hephaestus.aio``: each awaits its coroutine, with means that block no event loop."""

    _hephaestus: Runtime


class WorkflowCalls(WorkflowDefinition):
    """The calls of a topic, of a workflow class: those of its runtime, with a value in the place of an id."""

    @classmethod
    def _runtime(cls, calls: type[T]) -> T:
        """The runtime to use, as one that has these calls."""
        del calls
        return cast("T", RUNTIMES.of(cls))  # nothing else enters the registry

    @classmethod
    def _id(cls, value: str, call: str) -> str:
        return instance_id(cls, value, call)


class AioWorkflowCalls(Generic[InputT]):
    """The calls of a topic, of a workflow class's ``aio``."""

    def __init__(self, workflow: type[TypedWorkflow[InputT]]) -> None:
        self._workflow = workflow

    def _runtime(self, calls: type[T]) -> T:
        """The runtime to use, for event loops, as one that has these calls."""
        del calls
        return cast("T", RUNTIMES.of(self._workflow).aio)

    async def _find(self, value: str, call: str) -> Instance:
        """The run that a value means; its data is not there to be accessed."""
        means = self._runtime(AioCalls)._means()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of a class above
        return await read_run(means, self._id(value, call), workflow=self._workflow)

    def _id(self, value: str, call: str) -> str:
        return instance_id(self._workflow, value, call)


class HandleCalls:
    """The calls of a topic, of a handle: those of its runtime, for its run."""

    id: str
    run_id: str
    hephaestus: Runtime

    def _runtime(self, calls: type[T]) -> T:
        """The runtime of the handle, as one that has these calls."""
        del calls
        return cast("T", self.hephaestus)


class AioHandleCalls:
    """The calls of a topic, of a handle's ``aio``."""

    def __init__(self, handle: HandleCalls) -> None:
        self._handle = handle

    @property
    def run_id(self) -> str:
        """The run id of the handle."""
        return self._handle.run_id

    def _runtime(self, calls: type[T]) -> T:
        """The runtime of the handle, for event loops, as one that has these calls."""
        del calls
        return cast("T", self._handle.hephaestus.aio)

    async def _find(self) -> Instance:
        """The run; its data is not there to be accessed."""
        return await read_run(self._runtime(AioCalls)._means(), self.run_id)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of a class above


def instance_id(workflow: type[WorkflowDefinition], value: str, call: str) -> str:
    """The instance id, or the run id, that a value means to a call of a workflow class."""
    if is_run_id(value):
        return value
    if getattr(workflow, "unique", None) is None:
        raise ConfigurationError(
            f"{workflow.__qualname__} has no unique, so it is meant to be a version of an umbrella; but none lists it"
        )
    if isinstance(value, str) and value.startswith(f"{workflow.unique.key}::"):
        return value  # an instance id taken whole
    if workflow.unique.scope == "none":
        raise ConfigurationError(
            f"{workflow.__qualname__}.{call} can't tell which run {shown(value)} means: its scope is 'none', every start has "
            f"an id of its own. Use the handle that start gave, or its run_id"
        )
    return workflow.unique.instance_id(value, suffix="")
