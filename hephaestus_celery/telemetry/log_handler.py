"""The log handler: writes the telemetry events to the logger ``hephaestus_celery``.

Messages of an instance begin with ``[instance id] ``. For formatters that write structured logs the records carry
``instance_id``, ``run_id``, ``workflow`` (its name), ``step`` (its key), ``hephaestus_event`` (what the step gave or
got), ``duration_ms`` and ``telemetry_event`` (the dotted name of the event); each is None where it has no meaning. None of
these is a name that formatters use themselves, as structlog does with ``event`` and pythonjsonlogger with ``message``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from hephaestus_celery.core.values.formatting import listed
from hephaestus_celery.telemetry import event_dispatcher
from hephaestus_celery.telemetry.catalogue import names
from hephaestus_celery.telemetry.handlers import EventName
from hephaestus_celery.telemetry.labels import label, reason_label, step_label

HANDLER_ID: Final = "hephaestus-default-log-handler"

DEFAULT_LEVELS: Final[Mapping[EventName, int]] = MappingProxyType(
    {
        names.WORKFLOW_START: logging.INFO,
        names.WORKFLOW_STOP: logging.INFO,
        names.WORKFLOW_EXCEPTION: logging.ERROR,
        names.WORKFLOW_TRANSITION: logging.DEBUG,
        names.STEP_START: logging.INFO,
        names.STEP_STOP: logging.INFO,
        names.STEP_EXCEPTION: logging.ERROR,
        names.STEP_ASYNC: logging.WARNING,
        names.STEP_RESUME: logging.INFO,
        names.ENGINE_ADVANCE: logging.DEBUG,
        names.RUNNER_INIT: logging.INFO,
        names.WORKFLOW_CANCEL: logging.INFO,
        names.WORKFLOW_FORK: logging.INFO,
        names.WORKFLOW_COMPENSATE: logging.WARNING,
        names.STEP_RESCUE: logging.WARNING,
        names.STEP_DISCARD: logging.WARNING,
        names.WORKFLOW_PAUSE: logging.INFO,
        names.WORKFLOW_UNPAUSE: logging.INFO,
    }
)
"""The level of each event unless ``attach`` is given another; a failed attempt that will be retried is a warning, and
`Again` is a debug message."""

_RETRIED: Final[EventName] = (*names.STEP_EXCEPTION, "retried")
_AGAIN: Final[EventName] = (*names.STEP_ASYNC, "again")

_Writer: TypeAlias = Callable[[dict[str, Any], dict[str, Any]], str]

_logger = logging.getLogger("hephaestus_celery")


def attach(level: Mapping[EventName, int | str] | None = None, events: Iterable[EventName] | None = None) -> None:
    """Write the eleven events to the log, or only those named by ``events``.

    ``level`` gives single events another level, as a number or a name (``"debug"``). An extension event is written when
    ``events`` names it or, without ``events``, ``level`` does. Raises ``ValueError`` for an unknown event or level, and
    ``AlreadyAttachedError`` where the log handler is attached already.
    """
    if level is not None and not isinstance(level, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(
            f"level names the level of single events, {{telemetry.step_start_event(): 'debug'}}, and is no {level!r}; how "
            "much of the log is shown is set on its logger, logging.getLogger('hephaestus_celery').setLevel(...)"
        )
    overrides = {_known(event): _checked_level(event, wanted) for event, wanted in (level or {}).items()}
    chosen = [*names.events(), *overrides] if events is None else [_known(event) for event in events]
    levels = {event: overrides.get(event, DEFAULT_LEVELS[event]) for event in chosen}
    retried = overrides.get(names.STEP_EXCEPTION, logging.WARNING)
    again = overrides.get(names.STEP_ASYNC, logging.DEBUG)
    event_dispatcher.attach_many(HANDLER_ID, levels, handle_event, {**levels, _RETRIED: retried, _AGAIN: again})


def detach() -> None:
    """Stop writing events to the log; raises ``NotAttachedError`` where nothing is attached."""
    event_dispatcher.detach(HANDLER_ID)


def handle_event(
    event: EventName, measurements: dict[str, Any], metadata: dict[str, Any], config: Mapping[EventName, int]
) -> None:
    """Write one event; ``config`` holds the level of each."""
    level = config[event]
    if event == names.STEP_EXCEPTION and metadata.get("will_retry"):
        level = config.get(_RETRIED, level)
    if event == names.STEP_ASYNC and metadata.get("outcome") == "again":
        level = config.get(_AGAIN, level)
    if not _logger.isEnabledFor(level):
        return
    text = _WRITERS[event](measurements, metadata)
    instance_id = metadata.get("instance_id")
    has_step = "step" in metadata or "step_key" in metadata
    fields = {
        "instance_id": instance_id,
        "run_id": metadata.get("run_id"),
        "workflow": label(metadata["workflow"]) if "workflow" in metadata else None,
        "step": step_label(metadata) if has_step else _step_beside(metadata),
        "hephaestus_event": metadata.get("event", metadata.get("resume_event")),
        "duration_ms": _milliseconds(measurements.get("duration")),
        "telemetry_event": ".".join(event),
    }
    # The text goes as an argument: a percent sign in a reason is no format.
    if instance_id is None:
        _logger.log(level, "%s", text, extra=fields)
    else:
        _logger.log(level, "[%s] %s", instance_id, text, extra=fields)


def _known(event: EventName) -> EventName:
    if event not in DEFAULT_LEVELS:
        known = ", ".join(".".join(name) for name in DEFAULT_LEVELS)
        raise ValueError(f"{event!r} is no event of Hephaestus; the log handler knows {known}")
    return event


def _checked_level(event: EventName, level: object) -> int:
    if isinstance(level, int) and not isinstance(level, bool) and level >= 0:
        return level
    levels = logging.getLevelNamesMapping()
    if isinstance(level, str) and level.upper() in levels:
        return levels[level.upper()]
    known = ", ".join(name.lower() for name in levels)
    raise ValueError(f"the level of {'.'.join(event)} must be a number or one of {known}; got {level!r}")


def _step_beside(metadata: Mapping[str, Any]) -> str | None:
    """The step of an event that is about a workflow but names one: where a transition began, what failed a run."""
    step = metadata.get("from_step", metadata.get("failed_step"))
    return None if step is None else label(step)


def _milliseconds(duration: object) -> int | None:
    return duration // 1_000_000 if isinstance(duration, int) else None


def _time(duration: object) -> str:
    milliseconds = _milliseconds(duration)
    return "unknown time" if milliseconds is None else f"{milliseconds} ms"


def _workflow_start(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    return f"workflow {label(metadata.get('workflow'))} started"


def _workflow_stop(measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    count = measurements.get("step_count")
    steps = "" if count is None else f" ({count} step{'' if count == 1 else 's'})"
    return f"workflow {label(metadata.get('workflow'))} completed in {_time(measurements.get('duration'))}{steps}"


def _workflow_exception(measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    step = _step_beside(metadata)
    where = "" if step is None else f" in step {step}"
    return (
        f"workflow {label(metadata.get('workflow'))} failed after {_time(measurements.get('duration'))}{where}: "
        f"{reason_label(metadata.get('reason'))}"
    )


def _workflow_cancel(measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    reason = metadata.get("reason")
    why = "" if reason is None else f": {reason_label(reason)}"
    return f"workflow {label(metadata.get('workflow'))} cancelled after {_time(measurements.get('duration'))}{why}"


def _workflow_fork(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    return f"workflow {label(metadata.get('workflow'))} goes on from run {metadata.get('forked_from')}"


def _workflow_compensate(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    return f"workflow {label(metadata.get('workflow'))} undoes what has completed"


def _workflow_pause(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    return f"workflow {label(metadata.get('workflow'))} paused{_by(metadata)}"


def _workflow_unpause(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    return f"workflow {label(metadata.get('workflow'))} goes on{_by(metadata)}"


def _by(metadata: dict[str, Any]) -> str:
    by = metadata.get("by")
    return "" if by is None else f" (by {reason_label(by)})"


def _step_rescue(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    return f"step {label(metadata.get('step'))} is rescued: {reason_label(metadata.get('reason'))}"


def _step_discard(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    event, reason = label(metadata.get("event")), reason_label(metadata.get("reason"))
    return f"step {label(metadata.get('step'))} drops the event {event}, and waits on: {reason}"


def _workflow_transition(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    targets = listed([label(target) for target in metadata.get("targets", ())]) or "nothing new"
    return f"step {label(metadata.get('from_step'))} gave {label(metadata.get('event'))}, which starts {targets}"


def _step_start(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    return f"step {step_label(metadata)} started{_attempt(metadata)}"


def _step_stop(measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    event = metadata.get("event")
    with_event = "" if event is None else f" with {label(event)}"
    return f"step {step_label(metadata)} completed{with_event} in {_time(measurements.get('duration'))}"


def _step_exception(measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    again = ", will be tried again" if metadata.get("will_retry") else ""
    return (
        f"step {step_label(metadata)} failed after {_time(measurements.get('duration'))}{_attempt(metadata)}{again}: "
        f"{reason_label(metadata.get('reason'))}"
    )


def _step_async(measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    took = _time(measurements.get("duration"))
    if metadata.get("outcome") != "again":
        return f"step {step_label(metadata)} waits after {took}"
    number = metadata.get("round")
    which = "a round" if number is None else f"round {number}"
    return f"step {step_label(metadata)} ended {which} after {took}; the next begins in {_time(metadata.get('resumes_in'))}"


def _step_resume(measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    source = metadata.get("source")
    by = "" if source is None else f" ({label(source)})"
    return (
        f"step {step_label(metadata)} resumed with {label(metadata.get('resume_event'))}{by} "
        f"after a wait of {_time(measurements.get('wait_duration'))}"
    )


def _engine_advance(measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    before, after = label(metadata.get("status_before")), label(metadata.get("status_after"))
    active = label(measurements.get("active_steps_count"))
    return f"engine advanced {before} -> {after} in {_time(measurements.get('duration'))}, active steps: {active}"


def _runner_init(_measurements: dict[str, Any], metadata: dict[str, Any]) -> str:
    runner, storage = label(metadata.get("runner")), label(metadata.get("storage"))
    return f"runner {label(metadata.get('name'))} is ready: {runner} with {storage}"


def _attempt(metadata: Mapping[str, Any]) -> str:
    attempt, most = metadata.get("attempt"), metadata.get("max_attempts")
    if attempt is None:
        return ""
    within = f"round {metadata['round']}, " if "round" in metadata else ""
    return f" ({within}attempt {attempt})" if most is None else f" ({within}attempt {attempt} of {most})"


_WRITERS: Final[Mapping[EventName, _Writer]] = {
    names.WORKFLOW_START: _workflow_start,
    names.WORKFLOW_STOP: _workflow_stop,
    names.WORKFLOW_EXCEPTION: _workflow_exception,
    names.WORKFLOW_TRANSITION: _workflow_transition,
    names.STEP_START: _step_start,
    names.STEP_STOP: _step_stop,
    names.STEP_EXCEPTION: _step_exception,
    names.STEP_ASYNC: _step_async,
    names.STEP_RESUME: _step_resume,
    names.ENGINE_ADVANCE: _engine_advance,
    names.RUNNER_INIT: _runner_init,
    names.WORKFLOW_CANCEL: _workflow_cancel,
    names.WORKFLOW_FORK: _workflow_fork,
    names.WORKFLOW_COMPENSATE: _workflow_compensate,
    names.WORKFLOW_PAUSE: _workflow_pause,
    names.WORKFLOW_UNPAUSE: _workflow_unpause,
    names.STEP_RESCUE: _step_rescue,
    names.STEP_DISCARD: _step_discard,
}
