"""Starting a run: checks the arguments of a start before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hephaestus_celery.clock import Chance
from hephaestus_celery.core.definition import versioning
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.json_values import check_mapping
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
    context: Mapping[str, Any] | None,
    *,
    id: str,
    version: int | None,
    telemetry_metadata: Mapping[str, Any] | None,
    chance: Chance,
) -> Start:
    """Check the arguments of ``start_instance``; raises what :meth:`Hephaestus.start_instance` says."""
    if not _is_workflow(workflow):
        raise ValueError(f"start needs a workflow class, not {shown(workflow)}")
    options = {"id": id, "context": context or {}, "telemetry_metadata": telemetry_metadata or {}}
    chosen = versioning.resolve(workflow, version=version, options=options)
    if getattr(chosen, "unique", None) is None:
        raise ConfigurationError(
            f"{chosen.__qualname__} has no unique, so it is meant to be a version of an umbrella; but none lists "
            "it; add it to the versions of one, or give it a unique = Unique('key')"
        )
    return Start(
        workflow=chosen,
        id=_instance_id(chosen, id, chance=chance),
        context=check_mapping({} if context is None else context, "context"),
        telemetry=_checked_metadata(telemetry_metadata),
    )


def _is_workflow(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, WorkflowDefinition)


def _instance_id(workflow: type[WorkflowDefinition], value: object, *, chance: Chance) -> str:
    key, separator, rest = value.partition("::") if isinstance(value, str) else ("", "", "")
    if separator and key == workflow.unique.key:
        value = rest
    return workflow.unique.instance_id(value, suffix=chance.token()[:8])


def _checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    checked = check_mapping({} if metadata is None else metadata, "telemetry_metadata")
    for name in checked:
        if name in RESERVED_METADATA:
            raise DataError(f"telemetry_metadata.{name} has the name of a field of the events; choose another name")
    return checked
