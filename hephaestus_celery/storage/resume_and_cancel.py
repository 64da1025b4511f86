"""Values of resumes and cancellations: an event that is delivered to a run from outside, or its cancellation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hephaestus_celery.core.execution.commands import DispatchStep, last_message
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.queries import StoredRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event for the step of a ``run`` that waits for it, or for ``step`` alone.

    ``keep``: the run keeps the event until a step waits for it. ``key`` names the event, so that the run takes it once.
    ``by``: who sends it, for the history.
    """

    operation: str
    run: RunReference
    name: str
    data: str
    step: str | None
    keep: bool
    durations: Durations
    key: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAddress:
    """What every message of a run needs: the run's id, its workflow, and the headers that its messages repeat."""

    run_id: str
    name: str
    version: int
    message_headers: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """The outcome. ``steps`` wait for the event, and ``executing`` are being executed at this moment.

    ``run`` is the run that was meant; None if there is no such run. ``active`` are the active runs that the caller has to
    choose from (``SEVERAL``). If the run already has the event (``REPEATED``), no steps are named.
    """

    outcome: Delivered
    run: RunAddress | None = None
    active: Sequence[str] = ()
    status: Status = Status.RUNNING
    steps: Sequence[str] = ()
    executing: Sequence[str] = ()
    dispatches: Sequence[DispatchStep] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """A caller ends a run; with ``compensate`` what has completed is undone first. ``entry`` is the JSON text for the history."""

    run_id: str
    operation: str
    entry: str
    durations: Durations
    reason: str | None = None
    compensate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """A cancelled run. ``run`` has its steps as they stood.

    It has not ended yet if it undoes first what has completed. ``dispatches`` are the messages that are still to be sent for that.
    """

    sequence: int
    run: StoredRun
    dispatches: Sequence[DispatchStep] = ()

    @property
    def held(self) -> Mapping[str, tuple[str | None, str | None]]:
        """The steps that a worker was executing or applying an event to, with the task and the worker of each."""
        return {key: (step.holder, step.worker) for key, step in self.run.steps.items() if self._wants(step, held=True)}

    @property
    def sent(self) -> Sequence[DispatchStep]:
        """The last message of each step that no worker had claimed."""
        steps = self.run.steps.items()
        if not self.run.status.final:  # a compensation is not to be revoked
            return [last_message(Activation.parse(key), step) for key, step in steps if step.is_dropped]
        unclaimed = [(key, step) for key, step in steps if self._wants(step, held=False)]
        return [last_message(Activation.parse(key), step) for key, step in unclaimed if not step.backing_off]

    @staticmethod
    def _wants(step: StepState, *, held: bool) -> bool:
        wanted = step.status is StepStatus.ACTIVE or (step.status is StepStatus.WAITING and step.resume is not None)
        return wanted and (step.fence is not None) is held
