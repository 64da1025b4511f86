"""The emitter: one method per telemetry event, the only place where an event is built.

Each asks first whether anybody listens, so that without handlers nothing is built. Metadata is laid over
each other in this order, the later one wins: the caller's ``telemetry_metadata``, ``extra``, the fields that the event
always has, ``workflow_version``. What an event measures beyond its arguments is taken out of ``extra``: it moves to the
measurements, and is absent there when ``extra`` lacks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from traceback import FrameSummary
from typing import TYPE_CHECKING, Any, Final

from hephaestus_celery.clock import SYSTEM_CLOCK, Clock
from hephaestus_celery.exceptions import DefinitionError
from hephaestus_celery.telemetry.catalogue import names
from hephaestus_celery.telemetry.event_dispatcher import execute, has_handlers
from hephaestus_celery.telemetry.handlers import EventName

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.step import Step
    from hephaestus_celery.core.values.declared import DeclaredWorkflow
    from hephaestus_celery.core.values.instance import Instance

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Emitter:
    """Builds and emits the events of a runtime, with the times of its clock."""

    __slots__ = ("_clock",)

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock

    def workflow_start(self, instance: Instance, extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a run has begun."""
        if has_handlers(names.WORKFLOW_START):
            self._emit(names.WORKFLOW_START, instance, {"system_time": self._clock.time_ns()}, {}, extra)

    def workflow_stop(self, instance: Instance, extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a run has completed; measures ``step_count`` and ``advance_count`` where ``extra`` has them."""
        if has_handlers(names.WORKFLOW_STOP):
            taken, rest = _taken(extra, "step_count", "advance_count")
            measurements = {"duration": _duration(instance), **taken}
            self._emit(names.WORKFLOW_STOP, instance, measurements, {"status": "completed"}, rest)

    def workflow_exception(
        self,
        instance: Instance,
        kind: str,
        reason: object,
        stacktrace: list[FrameSummary] | None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Emit that a run has failed, with the failure of the step that failed it."""
        if has_handlers(names.WORKFLOW_EXCEPTION):
            always = {"kind": kind, "reason": reason, "stacktrace": stacktrace, "status": "failed"}
            self._emit(names.WORKFLOW_EXCEPTION, instance, {"duration": _duration(instance)}, always, extra)

    def workflow_cancel(self, instance: Instance, extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a run was cancelled; the reason, where there is one, comes in ``extra``."""
        if has_handlers(names.WORKFLOW_CANCEL):
            measurements = {"system_time": self._clock.time_ns(), "duration": _duration(instance)}
            self._emit(names.WORKFLOW_CANCEL, instance, measurements, {"status": "cancelled"}, extra)

    def workflow_fork(self, instance: Instance, extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a run was made of an earlier one, by a retry or a fork."""
        if has_handlers(names.WORKFLOW_FORK):
            self._emit(names.WORKFLOW_FORK, instance, {"system_time": self._clock.time_ns()}, {}, extra)

    def workflow_compensate(self, instance: Instance, extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a run which does not complete undoes what has completed, and ends then."""
        if has_handlers(names.WORKFLOW_COMPENSATE):
            self._emit(names.WORKFLOW_COMPENSATE, instance, {"system_time": self._clock.time_ns()}, {}, extra)

    def workflow_pause(self, instance: Instance | None, extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a run is paused; with None all runs of the ``workflow`` that ``extra`` names."""
        self._of_pause(names.WORKFLOW_PAUSE, instance, extra)

    def workflow_unpause(self, instance: Instance | None, extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a paused run goes on; with None all runs of the ``workflow`` that ``extra`` names."""
        self._of_pause(names.WORKFLOW_UNPAUSE, instance, extra)

    def step_rescue(self, instance: Instance, step: type[Step[Any]], extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a message or an attempt of a step was lost, and noticed."""
        if has_handlers(names.STEP_RESCUE):
            self._emit(names.STEP_RESCUE, instance, {"system_time": self._clock.time_ns()}, {"step": step}, extra)

    def step_discard(self, instance: Instance, step: type[Step[Any]], extra: Mapping[str, Any] | None = None) -> None:
        """Emit that an event of a step was dropped, since its data does not fit the type of the step, which waits on."""
        if has_handlers(names.STEP_DISCARD):
            self._emit(names.STEP_DISCARD, instance, {"system_time": self._clock.time_ns()}, {"step": step}, extra)

    def workflow_transition(
        self,
        instance: Instance,
        from_step: type[Step[Any]],
        event: str,
        targets: Sequence[type[Step[Any]]],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Emit which steps the completion of ``from_step`` has activated."""
        if has_handlers(names.WORKFLOW_TRANSITION):
            count = len(targets)
            always = {"from_step": from_step, "event": event, "targets": list(targets), "fan_out": count > 1}
            self._emit(names.WORKFLOW_TRANSITION, instance, {"targets_count": count}, always, extra)

    def step_start(self, instance: Instance, step: type[Step[Any]], extra: Mapping[str, Any] | None = None) -> None:
        """Emit that an attempt of a step begins; measures ``queue_time`` where ``extra`` has it."""
        if has_handlers(names.STEP_START):
            taken, rest = _taken(extra, "queue_time")
            self._emit(
                names.STEP_START, instance, {"system_time": self._clock.time_ns(), **taken}, {"step": step}, rest
            )

    def step_stop(
        self, instance: Instance, step: type[Step[Any]], duration: int, extra: Mapping[str, Any] | None = None
    ) -> None:
        """Emit that a step has completed, ``duration`` nanoseconds after its attempt began."""
        if has_handlers(names.STEP_STOP):
            self._emit(names.STEP_STOP, instance, {"duration": duration}, {"step": step}, extra)

    def step_exception(  # noqa: PLR0917 - the signature is public, and that of the other emit functions
        self,
        instance: Instance,
        step: type[Step[Any]],
        duration: int,
        kind: str,
        reason: object,
        stacktrace: list[FrameSummary] | None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Emit that an attempt of a step has failed, ``duration`` nanoseconds after it began."""
        if has_handlers(names.STEP_EXCEPTION):
            always = {"step": step, "kind": kind, "reason": reason, "stacktrace": stacktrace}
            self._emit(names.STEP_EXCEPTION, instance, {"duration": duration}, always, extra)

    def step_async(
        self, instance: Instance, step: type[Step[Any]], duration: int, extra: Mapping[str, Any] | None = None
    ) -> None:
        """Emit that a step waits from now on, ``duration`` nanoseconds after its attempt began."""
        if has_handlers(names.STEP_ASYNC):
            self._emit(names.STEP_ASYNC, instance, {"duration": duration}, {"step": step}, extra)

    def step_resume(self, instance: Instance, step: type[Step[Any]], extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a step has got what it waited for; measures ``wait_duration`` where ``extra`` has it."""
        if has_handlers(names.STEP_RESUME):
            taken, rest = _taken(extra, "wait_duration")
            self._emit(
                names.STEP_RESUME, instance, {"system_time": self._clock.time_ns(), **taken}, {"step": step}, rest
            )

    def engine_advance(self, instance: Instance, duration: int, extra: Mapping[str, Any] | None = None) -> None:
        """Emit one decision of the engine, which took ``duration`` nanoseconds.

        Measures ``active_steps_count`` and ``completed_in_advance`` where ``extra`` has them.
        """
        if has_handlers(names.ENGINE_ADVANCE):
            taken, rest = _taken(extra, "active_steps_count", "completed_in_advance")
            self._emit(names.ENGINE_ADVANCE, instance, {"duration": duration, **taken}, {}, rest)

    def runner_init(self, extra: Mapping[str, Any] | None = None) -> None:
        """Emit that a runner is ready; it belongs to no instance, so ``extra`` is all its metadata."""
        if has_handlers(names.RUNNER_INIT):
            execute(names.RUNNER_INIT, {"system_time": self._clock.time_ns()}, extra or {}, clock=self._clock)

    def _of_pause(self, event: EventName, instance: Instance | None, extra: Mapping[str, Any] | None) -> None:
        if not has_handlers(event):
            return
        measurements = {"system_time": self._clock.time_ns()}
        if instance is None:
            execute(event, measurements, extra or {}, clock=self._clock)
        else:
            self._emit(event, instance, measurements, {}, extra)

    def _emit(
        self,
        event: EventName,
        instance: Instance,
        measurements: Mapping[str, Any],
        always: Mapping[str, Any],
        extra: Mapping[str, Any] | None,
    ) -> None:
        metadata = {
            **instance.telemetry_metadata,
            **(extra or {}),
            "instance_id": instance.id,
            "run_id": instance.run_id,
            "workflow": _workflow(instance),
            **always,
            "workflow_version": instance.workflow_version,
        }
        forked_from = getattr(instance, "forked_from", None)  # a stand-in need not have it
        if forked_from is not None:
            metadata["forked_from"] = forked_from
        execute(event, measurements, metadata, clock=self._clock)


def _workflow(instance: Instance) -> type[DeclaredWorkflow] | str:
    try:
        return instance.workflow
    except DefinitionError:  # a run may be cancelled where its workflow is not defined
        return instance.workflow_name


def _taken(extra: Mapping[str, Any] | None, *measured: str) -> tuple[dict[str, Any], dict[str, Any]]:
    rest = dict(extra or {})
    return {name: rest.pop(name) for name in measured if name in rest}, rest


def _duration(instance: Instance) -> int | None:
    """End minus start of the run on the clock of the store, in nanoseconds; None where that cannot be known.

    Both ends come from the instance, never from a clock of this process: a duration over two clocks can be anything.
    """
    start: object = instance.telemetry_start_time
    end = instance.finished_at
    if end is None or end.utcoffset() is None or not isinstance(start, int) or isinstance(start, bool):
        return None
    since_epoch = end - _EPOCH
    # Whole numbers all the way: a float of seconds is off by hundreds of nanoseconds today.
    seconds = since_epoch.days * 86_400 + since_epoch.seconds
    duration = seconds * 1_000_000_000 + since_epoch.microseconds * 1_000 - start
    return duration if duration >= 0 else None


SYSTEM_EMITTER = Emitter()
"""Has the clock of the operating system; its methods are the functions of :mod:`hephaestus_celery.telemetry`."""

workflow_start = SYSTEM_EMITTER.workflow_start
workflow_stop = SYSTEM_EMITTER.workflow_stop
workflow_exception = SYSTEM_EMITTER.workflow_exception
workflow_cancel = SYSTEM_EMITTER.workflow_cancel
workflow_compensate = SYSTEM_EMITTER.workflow_compensate
workflow_fork = SYSTEM_EMITTER.workflow_fork
workflow_pause = SYSTEM_EMITTER.workflow_pause
workflow_unpause = SYSTEM_EMITTER.workflow_unpause
step_rescue = SYSTEM_EMITTER.step_rescue
step_discard = SYSTEM_EMITTER.step_discard
workflow_transition = SYSTEM_EMITTER.workflow_transition
step_start = SYSTEM_EMITTER.step_start
step_stop = SYSTEM_EMITTER.step_stop
step_exception = SYSTEM_EMITTER.step_exception
step_async = SYSTEM_EMITTER.step_async
step_resume = SYSTEM_EMITTER.step_resume
engine_advance = SYSTEM_EMITTER.engine_advance
runner_init = SYSTEM_EMITTER.runner_init
