"""An ``Instance``: a frozen snapshot of one run, as users, steps and telemetry see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.declared import DeclaredStep, DeclaredWorkflow
from hephaestus_celery.core.values.failure import Failure
from hephaestus_celery.core.values.formatting import listed, shown
from hephaestus_celery.core.values.lazy import Deferred, Makers
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.pause import Pause
from hephaestus_celery.core.values.step_standing import StepStanding, standing_of
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.exceptions import DefinitionError


# Without slots: with them Python 3.11 raises a TypeError where a property of a frozen class is assigned to.
@dataclass(frozen=True, kw_only=True, repr=False)
class Instance(Deferred):
    """A snapshot of a run. It does not change when the run goes on, and changes to its dicts change no run.

    Fields that have classes (``workflow``, ``active_steps``, ``step_configs`` ...) need the workflow to be defined in this
    process. Otherwise they raise ``DefinitionError`` naming the instance and the workflow where it is not. Times are aware
    UTC datetimes on the clock of the store; ``telemetry_start_time`` is that clock in nanoseconds, None when unknown.

    The large fields of a listed instance, or of an instance with much data, are read from the store when first accessed, and
    kept. This raises ``InstanceNotFoundError`` if the run is gone by then, and ``StorageError`` if the store is out of reach.
    Pickles and copies hold all fields; in another process they find the workflow's class by its name.
    """

    id: str
    run_id: str
    workflow_name: str
    workflow_version: int
    workflow_family: str
    status: Status
    context: Context[Any] = field(default_factory=Context[Any])
    runtime_metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    telemetry_metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    telemetry_start_time: int | None = None
    started_at: datetime
    finished_at: datetime | None = None
    failure: Failure | None = field(default_factory=lambda: None)  # not a plain default: see Deferred
    cancel_reason: str | None = field(default_factory=lambda: None)
    result: dict[str, Any] | None = field(default_factory=lambda: None)
    """What the run has given, by the ``result`` of its workflow; empty where that has none, None where the run has not completed."""
    forked_from: str | None = field(default_factory=lambda: None)
    """The run id of the earlier run that a retry or a fork has made this one of."""
    retried_as: str | None = None
    """The run id of the run that a retry has made of this one."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    step_states: dict[str, StepState] = field(default_factory=dict[str, StepState], repr=False)
    """The state of each step that the run has reached, by key."""
    deadline: datetime | None = None
    """When the run fails if it has not ended by then; None where its workflow had no ``deadline`` when it was started."""
    configs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]], repr=False)
    """The configs that started steps were given, by key, as they are stored."""
    message_headers: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """What the application added to the message with which the run was started: all of its messages repeat it."""
    pauses: tuple[Pause, ...] = ()
    """Why the run is paused: its own pause, that of its workflow, or both; empty where it is not."""
    failed_key: str | None = None
    undone: tuple[tuple[str, str], ...] = field(default_factory=tuple[tuple[str, str], ...], repr=False)
    """What the run undoes, each a step and its compensation, by key, in the order of undoing; empty where it undoes nothing."""
    undoes: bool = field(default_factory=lambda: False, repr=False)  # not a plain default: see Deferred
    """Whether the run undoes what had completed, or did so before it ended."""
    definition: type[DeclaredWorkflow] | None = field(default=None, repr=False)
    """The workflow class, or None where this process does not define it."""
    read_state: Callable[[str], StepState | None] | None = field(default=None, init=False, repr=False, compare=False)
    """Reads the state of one step without those of the others; None for a step that the run has not reached."""

    read_standing: Callable[[str, StepState], Makers] | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """What the standing of a step reads later; None in a copy, which reads nothing."""

    def apart(self, **changes: Any) -> Self:
        """The same instance with ``changes``; dicts that are read from a store are not shared with this instance."""
        return super().apart(**{"context": self.context.apart(), **changes})

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "definition"}

    @property
    def workflow(self) -> type[DeclaredWorkflow]:
        """The workflow class of exactly this version."""
        if self.definition is None:
            raise DefinitionError(
                f"instance {self.id} (run {self.run_id})",
                [f"its {self._version} is not defined in this process; import the module that defines it"],
            )
        return self.definition

    @property
    def paused(self) -> bool:
        """Whether no step of the run is begun now, since it is paused itself or its workflow is."""
        return bool(self.pauses)

    @property
    def step_configs(self) -> dict[type[DeclaredStep[Any]], Mapping[str, Any]]:
        """The configs of the steps that were started with one."""
        steps = {key: self._step(key) for key in self.configs}
        return {step: step.restored_config(self.configs[key]) for key, step in steps.items()}

    @property
    def active_steps(self) -> frozenset[type[DeclaredStep[Any]]]:
        """Steps to be executed, executing, or between attempts."""
        return self._steps(StepStatus.ACTIVE)

    @property
    def waiting_steps(self) -> frozenset[type[DeclaredStep[Any]]]:
        """Steps that wait for an event or a time."""
        return self._steps(StepStatus.WAITING)

    @property
    def completed_steps(self) -> frozenset[type[DeclaredStep[Any]]]:
        """Steps that gave an event, ``Done`` included."""
        return self._steps(StepStatus.COMPLETED)

    @property
    def skipped_steps(self) -> frozenset[type[DeclaredStep[Any]]]:
        """Steps that no branch can reach any more."""
        return self._steps(StepStatus.SKIPPED)

    @property
    def failed_step(self) -> type[DeclaredStep[Any]] | None:
        """The step that failed the run."""
        return None if self.failed_key is None else self._step(self.failed_key)

    @property
    def compensating(self) -> bool:
        """Whether the run has failed, or was cancelled with ``compensate``, and undoes what had completed before it ends."""
        return self.undoes and not self.status.final

    @property
    def compensated(self) -> tuple[type[DeclaredStep[Any]], ...]:
        """The steps that are undone, in the order of undoing: the last completed one first."""
        return self._undone(done=True)

    @property
    def uncompensated(self) -> tuple[type[DeclaredStep[Any]], ...]:
        """The steps that were to be undone and are not, in the order of undoing: their compensation has failed, or has not ended."""
        return self._undone(done=False)

    @property
    def current_step(self) -> type[DeclaredStep[Any]] | None:
        """The only waiting step, else the only active one, else None."""
        for steps in (self.waiting_steps, self.active_steps):
            if len(steps) == 1:
                return next(iter(steps))
        return None

    def idempotency_key(self, step: type[DeclaredStep[Any]] | DeclaredStep[Any]) -> str:
        """A key for outside systems: the same for every attempt of one activation (and round) of ``step``, and for nothing else."""
        read = self.read_state
        state = self.step_states.get(step.key) if read is None or self.is_made("step_states") else read(step.key)
        origin = None if state is None else state.origin
        round_number = 1 if state is None else state.round
        return Activation(step.key, generation=round_number).idempotency_key(origin or self.run_id)

    def step(self, step: type[DeclaredStep[Any]]) -> StepStanding:
        """How one step stands: its status, attempt, times, and what it waits for; see :class:`StepStanding`.

        ``ValueError`` if it is no step of the workflow, naming the steps that it has.
        """
        key = getattr(step, "key", None)
        if not isinstance(key, str) or self.workflow.find_step(key) is not step:
            has = listed(self.workflow.step_names())
            advice = "; give the class of the step, not its key" if isinstance(step, str) else ""
            raise ValueError(f"{shown(step)} is no step of {self.workflow.__qualname__}, which has {has}{advice}")
        read = self.read_state
        state = self.step_states.get(key) if read is None or self.is_made("step_states") else read(key)
        far = None if state is None or self.read_standing is None else self.read_standing(key, state)
        ended_with_it = None if self.undoes else self.finished_at
        return standing_of(state, status=self.status, finished_at=ended_with_it, far=far)

    @property
    def _version(self) -> str:
        return f"workflow {self.workflow_name!r}, version {self.workflow_version},"

    def _steps(self, status: StepStatus) -> frozenset[type[DeclaredStep[Any]]]:
        _ = self.workflow  # raises if this process does not define it: an empty set would look like a real answer
        if self.status.final and status in (StepStatus.ACTIVE, StepStatus.WAITING):
            return frozenset()
        over = status is StepStatus.COMPLETED  # a compensation that has completed is not one of the workflow's steps
        return frozenset(
            self._resolve(
                key
                for key, state in self.step_states.items()
                if state.status is status and not (over and state.compensates is not None)
            )
        )

    def _undone(self, *, done: bool) -> tuple[type[DeclaredStep[Any]], ...]:
        if not self.undoes:
            return ()
        states = self.step_states
        found = {
            key: (state := states.get(other)) is not None and state.status is StepStatus.COMPLETED
            for key, other in self.undone
        }
        return tuple(self._resolve(key for key, is_done in found.items() if is_done is done))

    def _resolve(self, keys: Iterable[str]) -> Iterable[type[DeclaredStep[Any]]]:
        return [self._step(key) for key in keys]

    def _step(self, key: str) -> type[DeclaredStep[Any]]:
        step = self.workflow.find_step(key)
        if step is None:
            raise DefinitionError(
                f"instance {self.id} (run {self.run_id})",
                [f"its {self._version} has no step {key!r} any more"],
            )
        return step
