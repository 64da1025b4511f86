"""Starting a run: checks the arguments of a start, and then stores the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hephaestus_celery.client.calls import (
    AioCalls,
    AioWorkflowCalls,
    RuntimeCalls,
    WorkflowCalls,
)
from hephaestus_celery.client.handle import InstanceHandle
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.reads import Reads
from hephaestus_celery.client.runtimes import RUNTIMES
from hephaestus_celery.clock import Chance
from hephaestus_celery.core.definition import versioning
from hephaestus_celery.core.definition.workflow import InputT, TypedWorkflow, WorkflowDefinition
from hephaestus_celery.core.values.data_types import accepted
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.json_values import check_mapping
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import ConfigurationError, DataError
from hephaestus_celery.telemetry.catalogue.names import RESERVED_METADATA


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A checked start: the workflow in the version that was chosen, the instance id, and copies of the data."""

    workflow: type[WorkflowDefinition]
    id: str
    context: dict[str, Any]
    telemetry: dict[str, Any]


def check_start(
    workflow: type[WorkflowDefinition],
    context: object,
    *,
    id: str,
    version: int | None,
    telemetry_metadata: Mapping[str, Any] | None,
    chance: Chance,
) -> Start:
    """Check the arguments of ``start_instance``; raises what :meth:`Hephaestus.start_instance` says."""
    check_workflow(workflow)
    options = {"id": id, "context": {} if context is None else context, "telemetry_metadata": telemetry_metadata or {}}
    chosen = versioning.resolve(workflow, version=version, options=options)
    if getattr(chosen, "unique", None) is None:
        raise ConfigurationError(
            f"{chosen.__qualname__} has no unique, so it is meant to be a version of an umbrella; but none lists "
            "it; add it to the versions of one, or give it a unique = Unique('key')"
        )
    return Start(
        workflow=chosen,
        id=instance_id_of(chosen, id, chance=chance),
        context=accepted(chosen.__data_type__, {} if context is None else context, "context"),
        telemetry=check_metadata(telemetry_metadata),
    )


async def store(means: Means, start: Start) -> str:
    """Store a run and launch it; gives its run id."""
    means.admit(start.workflow)
    with means.prepare():
        new, messages = means.parts.driver.new_run(
            start.workflow, id=start.id, context=start.context, telemetry=start.telemetry
        )
    unsent = messages if await means.storage.create(new) else ()
    if unsent or new.deadline is not None:  # a local runner begins to look at what is due with its first dispatch
        await means.runner.dispatch(unsent)
    return new.run_id


def check_workflow(workflow: object) -> None:
    """Refuse what is no workflow class, as a ``ValueError``."""
    if not _is_workflow(workflow):
        raise ValueError(f"start needs a workflow class, not {shown(workflow)}")


def _is_workflow(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, WorkflowDefinition)


def instance_id_of(workflow: type[WorkflowDefinition], value: object, *, chance: Chance) -> str:
    """The id of a new run of this workflow, from its value; the value may be an id as a whole."""
    key, separator, rest = value.partition("::") if isinstance(value, str) else ("", "", "")
    if separator and key == workflow.unique.key:
        value = rest
    suffix = chance.token()[:8] if workflow.unique.scope == "none" else ""
    return workflow.unique.instance_id(value, suffix=suffix)


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The ``telemetry_metadata`` of a start, checked."""
    checked = check_mapping({} if metadata is None else metadata, "telemetry_metadata")
    for name in checked:
        if name in RESERVED_METADATA:
            raise DataError(f"telemetry_metadata.{name} has the name of a field of the events; choose another name")
    return checked


class Starts(RuntimeCalls):
    """Starts, of ``Hephaestus``."""

    def start_instance(
        self,
        workflow: type[TypedWorkflow[InputT]],
        context: InputT | Mapping[str, Any] | None = None,
        *,
        id: str,
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> InstanceHandle:
        """Create a run of a workflow and launch it; returns its handle at once.

        ``id`` is the value of the instance id, ``key::value`` (given whole it is taken too). Of several starts of one
        id at the same time exactly one succeeds. A start whose state is stored is accepted, even when the broker can't
        be reached at that moment; a start that raises has stored nothing: ``AlreadyRunningError``, ``DataError`` for a
        context that can't be carried, ``ValueError`` for a bad id or version. A workflow that declares a type
        (``Workflow[Order]``) takes an object of it or a mapping, and validates it: ``DataError`` says what does not fit. After a ``StorageError`` its ``stored`` is
        False where that is sure, and None where it can't be known: look with ``get`` before starting again.
        """
        start = check_start(
            workflow, context, id=id, version=version, telemetry_metadata=telemetry_metadata, chance=self._chance
        )
        self._check_open()
        run_id = run_now(store(self._means(), start))
        return InstanceHandle(id=start.id, run_id=run_id, hephaestus=self)


class AioStarts(AioCalls):
    """Starts, of ``Hephaestus.aio``."""

    async def start_instance(
        self,
        workflow: type[TypedWorkflow[InputT]],
        context: InputT | Mapping[str, Any] | None = None,
        *,
        id: str,
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> InstanceHandle:
        """Create a run of a workflow and launch it; as :meth:`Hephaestus.start_instance`."""
        start = check_start(
            workflow, context, id=id, version=version, telemetry_metadata=telemetry_metadata, chance=self._chance
        )
        self._check_open()
        run_id = await store(self._means(), start)
        return InstanceHandle(id=start.id, run_id=run_id, hephaestus=self._hephaestus)


class WorkflowStarts(WorkflowCalls, TypedWorkflow[InputT]):
    """Starts, of a workflow class."""

    @classmethod
    def start(
        cls,
        value: str,
        context: InputT | Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> InstanceHandle:
        """Start the instance ``key::value`` and give its handle; see :meth:`Hephaestus.start_instance`."""
        return cls._runtime(Starts).start_instance(
            cls, context, id=value, version=version, telemetry_metadata=telemetry_metadata
        )

    @classmethod
    def handle(cls, value: str) -> InstanceHandle:
        """The handle of the active run of an instance, else of its newest, as ``start`` gave it."""
        runtime = cls._runtime(Reads)
        instance = runtime.get(cls._id(value, "handle"), workflow=cls)
        return InstanceHandle(id=instance.id, run_id=instance.run_id, hephaestus=runtime)


class AioWorkflowStarts(AioWorkflowCalls[InputT]):
    """Starts, of a workflow class's ``aio``."""

    async def start(
        self,
        value: str,
        context: InputT | Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> InstanceHandle:
        """Start the instance ``key::value`` and give its handle; as :meth:`Hephaestus.start_instance`."""
        return await self._runtime(AioStarts).start_instance(
            self._workflow, context, id=value, version=version, telemetry_metadata=telemetry_metadata
        )

    async def handle(self, value: str) -> InstanceHandle:
        """The handle of the active run of an instance, else of its newest, as ``start`` gave it."""
        instance = await self._find(value, "handle")
        return InstanceHandle(id=instance.id, run_id=instance.run_id, hephaestus=RUNTIMES.of(self._workflow))
