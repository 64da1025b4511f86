"""Nine metric definitions, as data: what to count and to measure, for any reporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from hephaestus_celery.telemetry.catalogue import names
from hephaestus_celery.telemetry.handlers import EventName
from hephaestus_celery.telemetry.labels import label, step_label


class MetricKind(StrEnum):
    """What a reporter does with the values."""

    COUNTER = "counter"
    DISTRIBUTION = "distribution"
    LAST_VALUE = "last_value"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDefinition:
    """One metric: the event to attach to, the measurement to read there, the metadata to group by.

    ``unit`` is ``ns`` for nanoseconds and ``1`` for plain numbers. A counter reads no measurement: it counts events.
    """

    name: str
    kind: MetricKind
    event: EventName
    measurement: str
    tags: tuple[str, ...]
    unit: str

    def observe(
        self, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> tuple[int | float, dict[str, str]] | None:
        """The value and the tags that one event gives, or None if it gives none.

        A counter gives 1 for every event; the others skip a measurement that is missing or None. Every tag is there in
        every result, as text: the name of a workflow, the key of a step, ``unknown`` where the event does not have it.
        """
        value = 1 if self.kind is MetricKind.COUNTER else measurements.get(self.measurement)
        if value is None:
            return None
        return value, {tag: _tag(tag, metadata) for tag in self.tags}


def metrics(scope: str | None = None) -> list[MetricDefinition]:
    """All nine, or those of one scope: ``workflow``, ``step``, ``engine``; raises ``ValueError`` for another."""
    if scope is None:
        return [definition for definitions in _SCOPES.values() for definition in definitions]
    if scope not in _SCOPES:
        raise ValueError(f"unknown scope of metrics {scope!r}; known are {', '.join(_SCOPES)}, and None for all")
    return list(_SCOPES[scope])


def _tag(tag: str, metadata: Mapping[str, Any]) -> str:
    return step_label(metadata) if tag == "step" else label(metadata.get(tag))


def _definition(
    kind: MetricKind, event: EventName, measurement: str, tags: tuple[str, ...], unit: str = "1"
) -> MetricDefinition:
    name = ".".join((*event, measurement))
    return MetricDefinition(name=name, kind=kind, event=event, measurement=measurement, tags=tags, unit=unit)


_SCOPES: Final[Mapping[str, tuple[MetricDefinition, ...]]] = {
    "workflow": (
        _definition(MetricKind.COUNTER, names.WORKFLOW_START, "count", ("workflow",)),
        _definition(MetricKind.COUNTER, names.WORKFLOW_STOP, "count", ("workflow",)),
        _definition(MetricKind.COUNTER, names.WORKFLOW_EXCEPTION, "count", ("workflow", "failed_step")),
        _definition(MetricKind.DISTRIBUTION, names.WORKFLOW_STOP, "duration", ("workflow",), "ns"),
    ),
    "step": (
        _definition(MetricKind.COUNTER, names.STEP_EXCEPTION, "count", ("workflow", "step", "kind")),
        _definition(MetricKind.COUNTER, names.STEP_ASYNC, "count", ("workflow", "step")),
        _definition(MetricKind.DISTRIBUTION, names.STEP_STOP, "duration", ("workflow", "step"), "ns"),
        _definition(MetricKind.DISTRIBUTION, names.STEP_RESUME, "wait_duration", ("workflow", "step", "source"), "ns"),
    ),
    "engine": (_definition(MetricKind.LAST_VALUE, names.ENGINE_ADVANCE, "active_steps_count", ("workflow",)),),
}
