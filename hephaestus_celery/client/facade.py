"""The class ``Workflow``, which users subclass: a definition, and the calls of its runtime for this workflow."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Unpack, cast

from hephaestus_celery.client.handle import InstanceHandle
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.client.listing import Page, RunFilters
from hephaestus_celery.client.runtimes import RUNTIMES
from hephaestus_celery.core.definition.define import define
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.cancel_report import CancelReport
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.identity import Unique, is_run_id
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.exceptions import ConfigurationError


class Workflow(WorkflowDefinition):
    """A DAG of steps; subclass it and declare ``unique``, ``initial_step`` (a step, or a list of them) and ``transitions``.

    Defining the subclass checks it: ``DefinitionError`` lists every problem found. ``class Base(Workflow,
    abstract=True)`` is not checked and only hands its attributes down. An umbrella declares ``versions`` and
    ``current`` in the place of steps.

    Its calls take the value of an instance id, the id as a whole, or a run id, and go to the runtime that was entered with
    ``with``, else to ``hephaestus``, else to the one ``Hephaestus`` of the process.
    """

    hephaestus: ClassVar[Hephaestus | None] = None
    """The runtime to use where a process has several."""

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not abstract:
            define(cls)

    @classmethod
    def version_for(cls, versions: Mapping[int, type[Workflow]], options: Mapping[str, Any]) -> int | None:
        """Override in an umbrella to choose the version of a new instance from the options of its start."""
        return super().version_for(versions, options)

    @classmethod
    def start(
        cls,
        value: str,
        context: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> InstanceHandle:
        """Start the instance ``key::value`` and give its handle; see :meth:`Hephaestus.start_instance`."""
        return cls._runtime().start_instance(
            cls, context, id=value, version=version, telemetry_metadata=telemetry_metadata
        )

    @classmethod
    def resume(
        cls,
        value: str,
        event: str,
        data: Mapping[str, Any] | None = None,
        *,
        step: type[Step] | str | None = None,
        keep_early: bool = False,
        key: str | None = None,
    ) -> None:
        """Deliver an event to a waiting step of an instance; see :meth:`Hephaestus.resume`."""
        instance_id = cls._id(value, "resume")
        cls._runtime().resume(instance_id, event, data, step=step, workflow=cls, keep_early=keep_early, key=key)

    @classmethod
    def get(cls, value: str) -> Instance:
        """The active run of an instance, else its newest; see :meth:`Hephaestus.get`."""
        return cls._runtime().get(cls._id(value, "get"), workflow=cls)

    @classmethod
    def handle(cls, value: str) -> InstanceHandle:
        """The handle of the active run of an instance, else of its newest, as ``start`` gave it."""
        return cls._handle(value, "handle")

    @classmethod
    def wait(cls, value: str, timeout: float | timedelta | None = None) -> Instance:
        """Wait for the end of a run; see :meth:`Hephaestus.wait`."""
        return cls._handle(value, "wait").wait(timeout)

    @classmethod
    def history(cls, value: str) -> builtins.list[HistoryEntry]:
        """What happened in a run so far; see :meth:`Hephaestus.history`."""
        return cls._handle(value, "history").history()

    @classmethod
    def cancel(cls, value: str, reason: str | None = None, *, terminate: bool = False) -> CancelReport:
        """End a run; see :meth:`Hephaestus.cancel`."""
        return cls._runtime().cancel(cls._id(value, "cancel"), reason, terminate=terminate, workflow=cls)

    @classmethod
    def list(cls, **filters: Unpack[RunFilters]) -> Page:
        """A page of this workflow's runs (of all its versions), newest first; see :meth:`Hephaestus.list`.

        ``id`` may be the value alone.
        """
        value: object = filters.get("id")
        if isinstance(value, str) and _is_bare(value) and isinstance(getattr(cls, "unique", None), Unique):
            filters["id"] = f"{cls.unique.key}::{value}"
        return cls._runtime().list(workflow=cls, **filters)

    @classmethod
    def _runtime(cls) -> Hephaestus:
        return cast("Hephaestus", RUNTIMES.of(cls))  # nothing else enters the registry

    @classmethod
    def _handle(cls, value: str, call: str) -> InstanceHandle:
        runtime = cls._runtime()
        instance = runtime.get(cls._id(value, call), workflow=cls)
        return InstanceHandle(id=instance.id, run_id=instance.run_id, hephaestus=runtime)

    @classmethod
    def _id(cls, value: str, call: str) -> str:
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


def _is_bare(value: str) -> bool:
    return "::" not in value and not is_run_id(value)
