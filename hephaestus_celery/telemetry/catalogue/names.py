"""The names of the telemetry events, and one accessor for each."""

from __future__ import annotations

from typing import Final

from hephaestus_celery.telemetry.handlers import EventName

WORKFLOW_START: Final[EventName] = ("hephaestus", "workflow", "start")
WORKFLOW_STOP: Final[EventName] = ("hephaestus", "workflow", "stop")
WORKFLOW_EXCEPTION: Final[EventName] = ("hephaestus", "workflow", "exception")
WORKFLOW_TRANSITION: Final[EventName] = ("hephaestus", "workflow", "transition")
STEP_START: Final[EventName] = ("hephaestus", "step", "start")
STEP_STOP: Final[EventName] = ("hephaestus", "step", "stop")
STEP_EXCEPTION: Final[EventName] = ("hephaestus", "step", "exception")
STEP_ASYNC: Final[EventName] = ("hephaestus", "step", "async")
STEP_RESUME: Final[EventName] = ("hephaestus", "step", "resume")
ENGINE_ADVANCE: Final[EventName] = ("hephaestus", "engine", "advance")
RUNNER_INIT: Final[EventName] = ("hephaestus", "runner", "init")
WORKFLOW_FORK: Final[EventName] = ("hephaestus", "workflow", "fork")
WORKFLOW_CANCEL: Final[EventName] = ("hephaestus", "workflow", "cancel")
WORKFLOW_COMPENSATE: Final[EventName] = ("hephaestus", "workflow", "compensate")
WORKFLOW_PAUSE: Final[EventName] = ("hephaestus", "workflow", "pause")
WORKFLOW_UNPAUSE: Final[EventName] = ("hephaestus", "workflow", "unpause")
STEP_RESCUE: Final[EventName] = ("hephaestus", "step", "rescue")
STEP_DISCARD: Final[EventName] = ("hephaestus", "step", "discard")

RESERVED_METADATA: Final[frozenset[str]] = frozenset(
    [
        "active_steps_count",
        "advance_count",
        "attempt",
        "by",
        "completed_steps",
        "concurrent",
        "context_keys",
        "event",
        "failed_step",
        "fan_out",
        "forked_from",
        "from_step",
        "has_context_updates",
        "has_metadata_updates",
        "hostname",
        "initial_step",
        "instance_id",
        "instance_status",
        "iteration",
        "kind",
        "max_attempts",
        "name",
        "outcome",
        "pid",
        "reason",
        "resume_event",
        "resumes_in",
        "retry_in",
        "round",
        "run_id",
        "runner",
        "sequence",
        "source",
        "stacktrace",
        "status",
        "status_after",
        "status_before",
        "step",
        "step_count",
        "step_key",
        "storage",
        "targets",
        "task_id",
        "transitions_to",
        "will_retry",
        "workflow",
        "workflow_version",
    ]
)
"""Every field of any event's metadata: names that a caller's ``telemetry_metadata`` may not have."""


def events() -> list[EventName]:
    """The eleven events, in an order that never changes, as a new list."""
    return [
        WORKFLOW_START,
        WORKFLOW_STOP,
        WORKFLOW_EXCEPTION,
        WORKFLOW_TRANSITION,
        STEP_START,
        STEP_STOP,
        STEP_EXCEPTION,
        STEP_ASYNC,
        STEP_RESUME,
        ENGINE_ADVANCE,
        RUNNER_INIT,
    ]


def extension_events() -> list[EventName]:
    """The events that are emitted beside the eleven; later versions may add to them."""
    return [
        WORKFLOW_CANCEL,
        WORKFLOW_FORK,
        STEP_RESCUE,
        WORKFLOW_PAUSE,
        WORKFLOW_UNPAUSE,
        STEP_DISCARD,
        WORKFLOW_COMPENSATE,
    ]


def workflow_start_event() -> EventName:
    """``("hephaestus", "workflow", "start")``: a worker took the first task of a run."""
    return WORKFLOW_START


def workflow_stop_event() -> EventName:
    """``("hephaestus", "workflow", "stop")``: a run completed."""
    return WORKFLOW_STOP


def workflow_exception_event() -> EventName:
    """``("hephaestus", "workflow", "exception")``: a run failed."""
    return WORKFLOW_EXCEPTION


def workflow_transition_event() -> EventName:
    """``("hephaestus", "workflow", "transition")``: a completed step activated the steps after it."""
    return WORKFLOW_TRANSITION


def step_start_event() -> EventName:
    """``("hephaestus", "step", "start")``: an attempt of a step begins."""
    return STEP_START


def step_stop_event() -> EventName:
    """``("hephaestus", "step", "stop")``: a step completed."""
    return STEP_STOP


def step_exception_event() -> EventName:
    """``("hephaestus", "step", "exception")``: an attempt of a step failed."""
    return STEP_EXCEPTION


def step_async_event() -> EventName:
    """``("hephaestus", "step", "async")``: a step began to wait, for an event or for its next round."""
    return STEP_ASYNC


def step_resume_event() -> EventName:
    """``("hephaestus", "step", "resume")``: a waiting step got its event or its timeout."""
    return STEP_RESUME


def engine_advance_event() -> EventName:
    """``("hephaestus", "engine", "advance")``: the engine applied results to a run."""
    return ENGINE_ADVANCE


def runner_init_event() -> EventName:
    """``("hephaestus", "runner", "init")``: a runner is ready."""
    return RUNNER_INIT
