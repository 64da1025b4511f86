"""Telemetry: what happens in workflows, as events for handlers.

``attach`` a function to an event and it is called whenever that happens; ``events()`` names the events, the reference
page "Telemetry events" says what each carries. ``log_handler`` writes them to the log, ``metrics`` defines what to
measure.
"""

from hephaestus_celery.telemetry import log_handler, metrics
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
from hephaestus_celery.telemetry.emitter import (
    Emitter,
    engine_advance,
    runner_init,
    step_async,
    step_discard,
    step_exception,
    step_rescue,
    step_resume,
    step_start,
    step_stop,
    workflow_cancel,
    workflow_compensate,
    workflow_exception,
    workflow_fork,
    workflow_pause,
    workflow_start,
    workflow_stop,
    workflow_transition,
    workflow_unpause,
)
from hephaestus_celery.telemetry.event_dispatcher import attach, attach_many, detach, execute, list_handlers
from hephaestus_celery.telemetry.handlers import AlreadyAttachedError, EventName, Handler, NotAttachedError
from hephaestus_celery.telemetry.spans import span

__all__ = [
    "AlreadyAttachedError",
    "Emitter",
    "EventName",
    "Handler",
    "NotAttachedError",
    "attach",
    "attach_many",
    "detach",
    "engine_advance",
    "engine_advance_event",
    "events",
    "execute",
    "extension_events",
    "list_handlers",
    "log_handler",
    "metrics",
    "runner_init",
    "runner_init_event",
    "span",
    "step_async",
    "step_async_event",
    "step_discard",
    "step_exception",
    "step_exception_event",
    "step_rescue",
    "step_resume",
    "step_resume_event",
    "step_start",
    "step_start_event",
    "step_stop",
    "step_stop_event",
    "workflow_cancel",
    "workflow_compensate",
    "workflow_exception",
    "workflow_exception_event",
    "workflow_fork",
    "workflow_pause",
    "workflow_start",
    "workflow_start_event",
    "workflow_stop",
    "workflow_stop_event",
    "workflow_transition",
    "workflow_transition_event",
    "workflow_unpause",
]
