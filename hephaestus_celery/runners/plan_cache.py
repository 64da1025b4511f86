"""Remembers what follows each event of a step (edges, configs, lanes), which is the same for all runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import Target
from hephaestus_celery.core.definition.plan import plan
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.joins import Settlement
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.json_values import check_mapping
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.runners.known_steps import most_attempts
from hephaestus_celery.runners.message_dispatcher import Dispatcher
from hephaestus_celery.runners.messages import messages
from hephaestus_celery.runners.step_exceptions import stuck
from hephaestus_celery.storage import codec

if TYPE_CHECKING:
    from hephaestus_celery.config import Settings
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

MOST_ROWS = 100_000
"""Rows of settlements that a process remembers: 20 to 30 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What follows from an event of a step. The fields of ``Complete`` with the same names explain these."""

    settlement: Settlement
    attempts: Mapping[str, int]
    configs: Mapping[str, str]
    rank: int
    stuck: str
    lanes: Mapping[str, str]


class Moves:
    """Finds moves, and remembers those of declared transitions: they are the same every time."""

    def __init__(self, settings: Settings, dispatcher: Dispatcher) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._known: WeakKeyDictionary[type[WorkflowDefinition], dict[tuple[str, str], Move]] = WeakKeyDictionary()
        self._rows = 0

    def find(
        self, workflow: type[WorkflowDefinition], step: type[Step[Any]], event: str, targets: tuple[Target, ...]
    ) -> Move:
        """The move of a step for this event and these targets."""
        if (step, event) in workflow.graph.dynamic:
            return self._plan(workflow, step, targets)
        known = self._known.setdefault(workflow, {})
        move = known.get((step.key, event))
        if move is None:
            move = self._plan(workflow, step, targets)
            if self._rows + len(move.settlement.rows) > MOST_ROWS:
                self._known.clear()
                self._rows = 0
                known = self._known.setdefault(workflow, {})
            known[step.key, event] = move
            self._rows += len(move.settlement.rows)
        return move

    def lanes(self, workflow: type[WorkflowDefinition], run_id: str, keys: Iterable[str]) -> dict[str, str]:
        """Where the messages of these steps go, for those that may be started."""
        starts = [DispatchStep(Activation.parse(key), 1, 1) for key in keys if key != Done.key or workflow.gives_result]
        hints = messages(workflow.name, workflow.version, run_id, starts)
        lanes = {hint.step: self._dispatcher.lane(hint) for hint in hints}
        return {key: lane for key, lane in lanes.items() if lane is not None}

    def undo(self, workflow: type[WorkflowDefinition], step: type[Step[Any]], run_id: str) -> Undo | None:
        """How a completed step is undone; None if it has no compensation."""
        compensation = workflow.graph.compensations.get(step)
        if compensation is None:
            return None
        policy = workflow.retry_policy(compensation, self._settings.default_retry)
        lane = self.lanes(workflow, run_id, [compensation.key]).get(compensation.key)
        return Undo(step=step.key, compensation=compensation.key, max_attempts=policy.max_attempts, lane=lane)

    def _plan(self, workflow: type[WorkflowDefinition], step: type[Step[Any]], targets: tuple[Target, ...]) -> Move:
        settlement = plan(workflow.graph, step, targets)
        default = self._settings.default_retry
        limit = self._settings.max_payload
        configs = {target.step.key: encoded_config(target, limit=limit) for target in targets}
        return Move(
            settlement=settlement,
            attempts={key: most_attempts(workflow, workflow.graph.by_key[key], default) for key in settlement.rows},
            configs={key: config for key, config in configs.items() if config is not None},
            rank=workflow.graph.rank(step.key),
            stuck="" if settlement.starts_one and not workflow.graph.joins else codec.encode(stuck(step.key).failure),
            lanes=self.lanes(workflow, "", settlement.rows) if self._dispatcher.lanes_are_fixed else {},
        )


def encoded_config(target: Target, *, limit: int) -> str | None:
    """The config that a target is given, as JSON text of at most ``limit`` bytes; None where it is given none."""
    if target.config is None:
        return None
    config = check_mapping(target.step.plain_config(target.config), f"{target.step.key}: config")
    return codec.encode_limited(config, f"{target.step.key}: config", limit=limit)
