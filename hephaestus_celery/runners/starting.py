"""Makes a new run, whose arguments were checked before, and the messages of its first steps; the caller stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.runners.hooks import Hooks
from hephaestus_celery.runners.known_steps import most_attempts
from hephaestus_celery.runners.message_dispatcher import Dispatcher, FirstMessages
from hephaestus_celery.runners.messages import Message, messages
from hephaestus_celery.runners.plan_cache import encoded_config
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.durations import Durations, deadline_of
from hephaestus_celery.storage.instances import encode_header
from hephaestus_celery.storage.schema import schema_of
from hephaestus_celery.storage.starts import FirstStep, NewRun

if TYPE_CHECKING:
    from hephaestus_celery.config import Settings
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

_RUN_ID_BITS = 58


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDraft:
    """A new run before its first messages are made: ``header`` and ``initial`` are its JSON texts.

    ``headers`` are what the hooks of the application add; ``messages`` are the first messages without what it adds later.
    """

    workflow: type[WorkflowDefinition]
    id: str
    run_id: str
    header: str
    initial: str
    headers: Mapping[str, Any]
    messages: Sequence[Message]


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

    def draft(
        self, workflow: type[WorkflowDefinition], *, id: str, context: Mapping[str, Any], telemetry: Mapping[str, Any]
    ) -> RunDraft:
        """Begin a new run: its id, and what the hooks of the application add. ``DataError`` if its data is too large."""
        limit = self._settings.max_payload
        run_id = self._new_run_id(id)
        codec.encode_limited(telemetry, "telemetry_metadata", limit=limit)
        headers = self._hooks.start_headers()
        starts = [DispatchStep(Activation(initial.step.key), 1, 1) for initial in workflow.graph.initials]
        return RunDraft(
            workflow=workflow,
            id=id,
            run_id=run_id,
            header=encode_header(id=id, run_id=run_id, workflow=workflow, telemetry=telemetry),
            initial=codec.encode_limited(context, "context", limit=limit),
            headers=headers,
            messages=messages(workflow.name, workflow.version, run_id, starts, headers=headers),
        )

    def new_runs(self, drafts: Sequence[RunDraft]) -> list[tuple[NewRun, Sequence[Message]] | Exception]:
        """The runs, each with the messages for its first steps, or what the application has raised for it.

        The messages are to be sent where the store, when it creates the run, says so. Once for all of them it is looked at
        whether the application sends messages in a way of its own.
        """
        started = self._dispatcher.start_messages([draft.messages for draft in drafts])
        return [
            first if isinstance(first, Exception) else (self._new_run(draft, first), first.messages)
            for draft, first in zip(drafts, started, strict=True)
        ]

    def _new_run_id(self, id: str) -> str:
        milliseconds = self._clock.time_ns() // 1_000_000
        return new_run_id(milliseconds=milliseconds, instance_id=id, random_bits=self._chance.bits(_RUN_ID_BITS))

    def _new_run(self, draft: RunDraft, first: FirstMessages) -> NewRun:
        workflow = draft.workflow
        headers = {**draft.headers, **first.headers}
        return NewRun(
            operation=draft.run_id,
            run_id=draft.run_id,
            instance_id=draft.id,
            name=workflow.name,
            family=workflow.family,
            version=workflow.version,
            scope=workflow.unique.scope,
            tags=sorted(workflow.tags),
            header=draft.header,
            initial=draft.initial,
            firsts=self._firsts(workflow, first),
            durations=self._durations,
            schema=schema_of(workflow),
            message_headers=codec.encode(headers) if headers else None,
            deadline=deadline_of(workflow),
            compensates=bool(workflow.graph.compensations),
        )

    def _firsts(self, workflow: type[WorkflowDefinition], first: FirstMessages) -> list[FirstStep]:
        default = self._settings.default_retry
        prepared = first.prepared or [None] * len(first.messages)
        return [
            FirstStep(
                step=initial.step.key,
                config=encoded_config(initial, limit=self._settings.max_payload),
                max_attempts=most_attempts(workflow, initial.step, default),
                prepared_message=message,
                lane=self._dispatcher.lane(hint),
            )
            for initial, hint, message in zip(workflow.graph.initials, first.messages, prepared, strict=True)
        ]
