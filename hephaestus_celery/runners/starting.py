"""Makes a new run, whose arguments were checked before, and the messages of its first steps; the caller stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.runners.hooks import Hooks
from hephaestus_celery.runners.message_dispatcher import Dispatcher
from hephaestus_celery.runners.messages import Message, messages
from hephaestus_celery.runners.plan_cache import encoded_config
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.instances import encode_header
from hephaestus_celery.storage.starts import FirstStep, NewRun

if TYPE_CHECKING:
    from hephaestus_celery.config import Settings
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

_RUN_ID_BITS = 58


class Starter:
    """Makes new runs."""

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        *,
        durations: Durations,
        hooks: Hooks,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._durations = durations
        self._hooks = hooks
        self._clock = clock
        self._chance = chance

    def new_run(
        self, workflow: type[WorkflowDefinition], *, id: str, context: Mapping[str, Any], telemetry: Mapping[str, Any]
    ) -> tuple[NewRun, Sequence[Message]]:
        """A new run, and the messages for its first steps; to be sent where the store, when it creates the run, says so."""
        limit = self._settings.max_payload
        run_id = self._new_run_id(id)
        codec.encode_limited(telemetry, "telemetry_metadata", limit=limit)
        hints, headers = self._first_messages(workflow, run_id)
        new = NewRun(
            operation=run_id,
            run_id=run_id,
            instance_id=id,
            name=workflow.name,
            family=workflow.family,
            version=workflow.version,
            scope=workflow.unique.scope,
            tags=sorted(workflow.tags),
            header=encode_header(id=id, run_id=run_id, workflow=workflow, telemetry=telemetry),
            initial=codec.encode_limited(context, "context", limit=limit),
            firsts=self._firsts(workflow, hints),
            durations=self._durations,
            message_headers=codec.encode(dict(headers)) if headers else None,
        )
        return new, hints

    def _new_run_id(self, id: str) -> str:
        milliseconds = self._clock.time_ns() // 1_000_000
        return new_run_id(milliseconds=milliseconds, instance_id=id, random_bits=self._chance.bits(_RUN_ID_BITS))

    def _first_messages(
        self, workflow: type[WorkflowDefinition], run_id: str
    ) -> tuple[Sequence[Message], Mapping[str, Any]]:
        # The messages, and the headers that all messages of the run repeat.
        starts = [DispatchStep(Activation(initial.step.key), 1, 1) for initial in workflow.graph.initials]
        added = self._hooks.start_headers()
        hints = messages(workflow.name, workflow.version, run_id, starts, headers=added)
        hints, headers = self._dispatcher.start_messages(hints)
        return hints, {**added, **headers} if added else headers

    def _firsts(self, workflow: type[WorkflowDefinition], hints: Sequence[Message]) -> list[FirstStep]:
        default = self._settings.default_retry
        return [
            FirstStep(
                step=initial.step.key,
                config=encoded_config(initial, limit=self._settings.max_payload),
                max_attempts=workflow.retry_policy(initial.step, default).max_attempts,
                prepared_message=self._dispatcher.prepare(hint, parent=None),
                lane=self._dispatcher.lane(hint),
            )
            for initial, hint in zip(workflow.graph.initials, hints, strict=True)
        ]
