"""The class ``Workflow``, which users subclass: a definition, and the calls of its runtime for this workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from hephaestus_celery.client.cancel import AioWorkflowCancels, WorkflowCancels
from hephaestus_celery.client.delete import AioWorkflowDeletes, WorkflowDeletes
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.client.pauses import AioWorkflowPauses, WorkflowPauses
from hephaestus_celery.client.reads import AioWorkflowReads, WorkflowReads
from hephaestus_celery.client.reruns import AioWorkflowReruns, WorkflowReruns
from hephaestus_celery.client.resume import AioWorkflowResumes, WorkflowResumes
from hephaestus_celery.client.start import AioWorkflowStarts, WorkflowStarts
from hephaestus_celery.client.start_many import AioWorkflowManyStarts, WorkflowManyStarts
from hephaestus_celery.client.waits import AioWorkflowWaits, WorkflowWaits
from hephaestus_celery.core.definition.define import define
from hephaestus_celery.core.definition.workflow import InputT, TypedWorkflow


class AioWorkflow(
    AioWorkflowStarts[InputT],
    AioWorkflowManyStarts[InputT],
    AioWorkflowResumes[InputT],
    AioWorkflowCancels[InputT],
    AioWorkflowPauses[InputT],
    AioWorkflowReruns[InputT],
    AioWorkflowDeletes[InputT],
    AioWorkflowReads[InputT],
    AioWorkflowWaits[InputT],
):
    """The calls of a workflow class as coroutines, for event loops: ``await OrderFlow.aio.start("A-1", {...})``."""


class _OfClass:
    """Gives each workflow class its own ``aio``."""

    def __get__(self, _: object, workflow: type[TypedWorkflow[InputT]]) -> AioWorkflow[InputT]:
        return AioWorkflow(workflow)

    def __set__(self, _: object, value: object) -> None:
        raise AttributeError("aio belongs to the class")


class Workflow(
    WorkflowStarts[InputT],
    WorkflowManyStarts[InputT],
    WorkflowResumes,
    WorkflowCancels,
    WorkflowPauses,
    WorkflowReruns[InputT],
    WorkflowDeletes,
    WorkflowReads,
    WorkflowWaits,
):
    """A DAG of steps; subclass it and declare ``unique``, ``initial_step`` (a step, or a list of them) and ``transitions``.

    Defining the subclass checks it: ``DefinitionError`` lists every problem found. ``class Base(Workflow,
    abstract=True)`` is not checked and only hands its attributes down. An umbrella declares ``versions`` and
    ``current`` in the place of steps.

    ``Workflow[Order]`` says what type the initial context has: a pydantic model, a dataclass or a TypedDict. A start takes an
    object of the type or a mapping, and validates it; ``context.input`` gives objects of it. It needs the extra ``pydantic``.

    Its calls take the value of an instance id, the id as a whole, or a run id, and go to the runtime that was entered with
    ``with``, else to ``hephaestus``, else to the one ``Hephaestus`` of the process.
    """

    aio = _OfClass()
    """The calls of this class as coroutines, for event loops."""
    hephaestus: ClassVar[Hephaestus | None] = None
    """The runtime to use where a process has several."""

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not abstract:
            define(cls)

    @classmethod
    def version_for(cls, versions: Mapping[int, type[Workflow[Any]]], options: Mapping[str, Any]) -> int | None:
        """Override in an umbrella to choose the version of a new instance from the options of its start."""
        return super().version_for(versions, options)
