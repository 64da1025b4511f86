"""The catalogue of telemetry events: their names, what they carry, and the reference page.

``python -m hephaestus_celery.telemetry.catalogue`` prints the page.
"""

from hephaestus_celery.telemetry.catalogue.entries import (
    CATALOGUE,
    RESERVED_METADATA,
    CatalogueEntry,
    Field,
    Presence,
)
from hephaestus_celery.telemetry.catalogue.names import (
    engine_advance_event,
    events,
    extension_events,
    runner_init_event,
    step_async_event,
    step_exception_event,
    step_resume_event,
    step_start_event,
    step_stop_event,
    workflow_exception_event,
    workflow_start_event,
    workflow_stop_event,
    workflow_transition_event,
)

__all__ = [
    "CATALOGUE",
    "RESERVED_METADATA",
    "CatalogueEntry",
    "Field",
    "Presence",
    "engine_advance_event",
    "events",
    "extension_events",
    "runner_init_event",
    "step_async_event",
    "step_exception_event",
    "step_resume_event",
    "step_start_event",
    "step_stop_event",
    "workflow_exception_event",
    "workflow_start_event",
    "workflow_stop_event",
    "workflow_transition_event",
]
