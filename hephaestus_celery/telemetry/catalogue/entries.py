"""What each telemetry event means and carries, as data.

The reference page is printed from it, and the emitter is tested on it.

Names of events and fields are public. Entries and fields may be added here, never renamed or removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hephaestus_celery.telemetry.catalogue import names
from hephaestus_celery.telemetry.handlers import EventName


class Presence(StrEnum):
    """When an event has a field."""

    ALWAYS = "always"
    FROM_RUNNER = "from the runner"
    """Handed over in ``extra``; absent where the runner has nothing to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One measurement or one field of the metadata."""

    name: str
    type: str
    description: str
    presence: Presence


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One event: the function that emits it, what it means, and its fields."""

    name: EventName
    accessor: str | None
    emitter: str
    description: str
    measurements: tuple[Field, ...]
    metadata: tuple[Field, ...]


def _always(name: str, type_: str, description: str) -> Field:
    return Field(name=name, type=type_, description=description, presence=Presence.ALWAYS)


def _given(name: str, type_: str, description: str) -> Field:
    return Field(name=name, type=type_, description=description, presence=Presence.FROM_RUNNER)


_SYSTEM_TIME = _always("system_time", "int", "Wall clock of the emitting process, nanoseconds since 1970.")
_RUN_DURATION = _always(
    "duration",
    "int or None",
    "End of the run minus its start in nanoseconds, both on the clock of the store; None where either is unknown.",
)
_STEP_DURATION = _always("duration", "int", "How long the attempt took in nanoseconds; monotonic, never negative.")

_OF_AN_INSTANCE = (
    _always("instance_id", "str", "Id of the instance, such as `orderid::a1001`."),
    _always("run_id", "str", "Id of this one execution of the instance."),
    _always(
        "workflow",
        "workflow class",
        "The workflow, in the version of the run; its name in a process that does not define it.",
    ),
    _always("workflow_version", "int", "Version of the workflow that the run is bound to."),
    _given("sequence", "int", "Number of the event in its run, increasing in the order of the commits."),
    _given("hostname", "str", "Name of the worker that emits; only from workers."),
    _given("task_id", "str", "Id of the Celery task in which the event was emitted; only from workers."),
    _given("forked_from", "str", "Run id of the earlier run; only where a retry or a fork has made the run of one."),
)
_BY = _given("by", "str or None", "Who did it, if that was said.")
_STEP = _always("step", "step class", "The step.")
_STEP_KEY = _given("step_key", "str", "Key of the step, such as `validate_order`.")
_ATTEMPT = _given("attempt", "int", "Number of the attempt, from 1.")
_MAX_ATTEMPTS = _given("max_attempts", "int", "Attempts that the retry policy allows in all.")
_ROUND = _given("round", "int", "Which round of an `Again` it is, from 2 on; absent in the first.")
_RUNNER = _given("runner", "runner class", "The runner that executes the run.")
_FAILURE = (
    _always("kind", "str", "`error`, `exit` (ended from outside, or by `SystemExit`) or `throw`."),
    _always("reason", "object", "The exception, or the reason that the step gave with `Error`."),
    _always("stacktrace", "list of traceback.FrameSummary or None", "Where it was raised; None without exception."),
)

CATALOGUE: Final[tuple[CatalogueEntry, ...]] = (
    CatalogueEntry(
        name=names.WORKFLOW_START,
        accessor="workflow_start_event",
        emitter="workflow_start(instance, extra)",
        description="A run has begun: a worker has taken its first task. Once per run, before its first advance.",
        measurements=(_SYSTEM_TIME,),
        metadata=(
            *_OF_AN_INSTANCE,
            _given(
                "initial_step",
                "step class",
                "The step that the run begins with; a tuple of them where there are several.",
            ),
            _given("context_keys", "list of str", "Keys of the initial context; never its values."),
            _RUNNER,
        ),
    ),
    CatalogueEntry(
        name=names.WORKFLOW_STOP,
        accessor="workflow_stop_event",
        emitter="workflow_stop(instance, extra)",
        description="A run has completed. At most one of stop, exception and cancel comes for a run.",
        measurements=(
            _RUN_DURATION,
            _given("step_count", "int", "Steps that completed, `Done` included."),
            _given("advance_count", "int", "Advances of the engine over the whole run."),
        ),
        metadata=(
            *_OF_AN_INSTANCE,
            _always("status", "str", "Always `completed`."),
            _given("completed_steps", "list of step classes", "The steps that completed."),
            _RUNNER,
        ),
    ),
    CatalogueEntry(
        name=names.WORKFLOW_EXCEPTION,
        accessor="workflow_exception_event",
        emitter="workflow_exception(instance, kind, reason, stacktrace, extra)",
        description="A run has failed for good: a step has, its deadline has come, or nothing was left to do without `Done`.",
        measurements=(_RUN_DURATION,),
        metadata=(
            *_OF_AN_INSTANCE,
            *_FAILURE,
            _always("status", "str", "Always `failed`."),
            _given("failed_step", "step class or None", "The step that failed the run."),
            _given("step_count", "int", "Steps that completed before."),
            _given("advance_count", "int", "Advances of the engine over the whole run."),
            _RUNNER,
        ),
    ),
    CatalogueEntry(
        name=names.WORKFLOW_TRANSITION,
        accessor="workflow_transition_event",
        emitter="workflow_transition(instance, from_step, event, targets, extra)",
        description="A step has completed, and the engine has activated what follows. Once per completed step.",
        measurements=(_always("targets_count", "int", "How many steps were activated."),),
        metadata=(
            *_OF_AN_INSTANCE,
            _always("from_step", "step class", "The step that completed."),
            _always("event", "str", "The event that it gave."),
            _always(
                "targets",
                "list of step classes",
                "The steps that it activated; empty for `Done` and where a join still waits for other branches.",
            ),
            _always("fan_out", "bool", "Whether more than one step was activated."),
        ),
    ),
    CatalogueEntry(
        name=names.STEP_START,
        accessor="step_start_event",
        emitter="step_start(instance, step, extra)",
        description="An attempt of a step is about to execute; exactly one of stop, async and exception follows.",
        measurements=(
            _SYSTEM_TIME,
            _given("queue_time", "int or None", "From the dispatch of the attempt to its claim, in nanoseconds."),
        ),
        metadata=(
            *_OF_AN_INSTANCE,
            _STEP,
            _STEP_KEY,
            _given("concurrent", "bool", "Whether other steps of the run are active at the same time."),
            _given("active_steps_count", "int", "Active steps of the run, this one included."),
            _ATTEMPT,
            _MAX_ATTEMPTS,
            _ROUND,
        ),
    ),
    CatalogueEntry(
        name=names.STEP_STOP,
        accessor="step_stop_event",
        emitter="step_stop(instance, step, duration, extra)",
        description="A step has completed with `Ok`, and its result is stored.",
        measurements=(_STEP_DURATION,),
        metadata=(
            *_OF_AN_INSTANCE,
            _STEP,
            _STEP_KEY,
            _given("event", "str", "The event that the step gave."),
            _given("has_context_updates", "bool", "Whether it stored something in the context."),
            _given("has_metadata_updates", "bool", "Whether it added to the runtime metadata."),
            _given("transitions_to", "list of step classes", "The steps that it activated."),
            _ATTEMPT,
            _ROUND,
        ),
    ),
    CatalogueEntry(
        name=names.STEP_EXCEPTION,
        accessor="step_exception_event",
        emitter="step_exception(instance, step, duration, kind, reason, stacktrace, extra)",
        description="An attempt of a step has failed: it raised, returned `Error`, ran too long or was lost.",
        measurements=(_STEP_DURATION,),
        metadata=(
            *_OF_AN_INSTANCE,
            _STEP,
            *_FAILURE,
            _STEP_KEY,
            _ATTEMPT,
            _MAX_ATTEMPTS,
            _ROUND,
            _given("will_retry", "bool", "Whether another attempt follows."),
            _given("retry_in", "int or None", "Until that attempt, in nanoseconds."),
        ),
    ),
    CatalogueEntry(
        name=names.STEP_ASYNC,
        accessor="step_async_event",
        emitter="step_async(instance, step, duration, extra)",
        description="A step has returned `Async` or `Again`: it waits for an event or a timeout, or for its next round.",
        measurements=(_STEP_DURATION,),
        metadata=(
            *_OF_AN_INSTANCE,
            _STEP,
            _STEP_KEY,
            _given("instance_status", "str", "Status of the instance after it; `waiting` where nothing else runs."),
            _ATTEMPT,
            _given("outcome", "str", "`again` of `Again`, else `waiting`; as in the history."),
            _given("round", "int", "Which round of the step this was, from 1."),
            _given(
                "resumes_in",
                "int or None",
                "Until its next round, or its timeout, in nanoseconds; None where it has none.",
            ),
        ),
    ),
    CatalogueEntry(
        name=names.STEP_RESUME,
        accessor="step_resume_event",
        emitter="step_resume(instance, step, extra)",
        description="A waiting step has got its event or its timeout; a transition follows, and no `step.stop`.",
        measurements=(
            _SYSTEM_TIME,
            _given("wait_duration", "int or None", "How long the step waited in nanoseconds; None where unknown."),
        ),
        metadata=(
            *_OF_AN_INSTANCE,
            _STEP,
            _STEP_KEY,
            _given("resume_event", "str", "The event that the step got."),
            _given("source", "str", "`external` or `timeout`."),
            _ROUND,
        ),
    ),
    CatalogueEntry(
        name=names.ENGINE_ADVANCE,
        accessor="engine_advance_event",
        emitter="engine_advance(instance, duration, extra)",
        description="The engine has applied results to a run and decided what comes next.",
        measurements=(
            _always("duration", "int", "How long the decision took in nanoseconds."),
            _given("active_steps_count", "int", "Active steps after it."),
            _given("completed_in_advance", "int", "Steps whose completion it applied."),
        ),
        metadata=(
            *_OF_AN_INSTANCE,
            _given("status_before", "str", "Status of the instance before."),
            _given("status_after", "str", "Status of the instance after."),
            _given("iteration", "int", "Number of the advance in its run, from 1."),
        ),
    ),
    CatalogueEntry(
        name=names.RUNNER_INIT,
        accessor="runner_init_event",
        emitter="runner_init(extra)",
        description="A runner is ready; in Celery once per worker. It belongs to no instance.",
        measurements=(_SYSTEM_TIME,),
        metadata=(
            _given("name", "str", "Name of the runtime."),
            _RUNNER,
            _given("storage", "storage class", "Where it keeps its instances."),
            _given("pid", "int", "Id of the process."),
            _given("hostname", "str", "Name of the worker or of the machine."),
        ),
    ),
    CatalogueEntry(
        name=names.WORKFLOW_CANCEL,
        accessor=None,
        emitter="workflow_cancel(instance, extra)",
        description="A run was cancelled; neither stop nor exception comes for it.",
        measurements=(_SYSTEM_TIME, _RUN_DURATION),
        metadata=(
            *_OF_AN_INSTANCE,
            _always("status", "str", "Always `cancelled`."),
            _given("reason", "str or None", "What the caller of `cancel` gave as reason."),
        ),
    ),
    CatalogueEntry(
        name=names.WORKFLOW_FORK,
        accessor=None,
        emitter="workflow_fork(instance, extra)",
        description="A run was made of an earlier one by a retry or a fork, in the process that asked for it. Its start comes later, "
        "from the worker that takes its first task.",
        measurements=(_SYSTEM_TIME,),
        metadata=_OF_AN_INSTANCE,
    ),
    CatalogueEntry(
        name=names.STEP_RESCUE,
        accessor=None,
        emitter="step_rescue(instance, step, extra)",
        description="A message or an attempt of a step was lost, and noticed: it is sent again, or has failed.",
        measurements=(_SYSTEM_TIME,),
        metadata=(
            *_OF_AN_INSTANCE,
            _always("step", "step class", "The step."),
            _given("step_key", "str", "Its key."),
            _given("attempt", "int", "The attempt that was lost or not begun, from 1."),
            _given("reason", "str", "How it was noticed."),
            _ROUND,
        ),
    ),
    CatalogueEntry(
        name=names.WORKFLOW_PAUSE,
        accessor=None,
        emitter="workflow_pause(instance, extra)",
        description="A run was paused. For the pause of a whole workflow it comes once, with the workflow in the place of the "
        "fields of a run.",
        measurements=(_SYSTEM_TIME,),
        metadata=(*_OF_AN_INSTANCE, _BY),
    ),
    CatalogueEntry(
        name=names.WORKFLOW_UNPAUSE,
        accessor=None,
        emitter="workflow_unpause(instance, extra)",
        description="A paused run goes on. For a whole workflow it comes once, with the workflow in the place of the fields of "
        "a run.",
        measurements=(_SYSTEM_TIME,),
        metadata=(*_OF_AN_INSTANCE, _BY),
    ),
    CatalogueEntry(
        name=names.STEP_DISCARD,
        accessor=None,
        emitter="step_discard(instance, step, extra)",
        description="An event that was delivered to a step does not fit the type of the step: it was dropped, and the step waits on.",
        measurements=(_SYSTEM_TIME,),
        metadata=(
            *_OF_AN_INSTANCE,
            _always("step", "step class", "The step."),
            _given("step_key", "str", "Its key."),
            _given("event", "str", "The step's own name of the event."),
            _given("reason", "str", "What does not fit, path by path."),
            _ROUND,
        ),
    ),
    CatalogueEntry(
        name=names.WORKFLOW_COMPENSATE,
        accessor=None,
        emitter="workflow_compensate(instance, extra)",
        description="A run that has failed, or was cancelled with `compensate`, undoes what has completed, from now on: once for a "
        "run, by the process that has noticed it. Its end comes after the last compensation.",
        measurements=(_SYSTEM_TIME,),
        metadata=_OF_AN_INSTANCE,
    ),
)
