"""Prepares a retry or a fork: which steps of an earlier run are kept, which run again, and their first messages.

Everything that is read of the earlier run is given, as of one moment. So nothing here calls the store.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.core.definition.graph import StepClass, Target
from hephaestus_celery.core.definition.plan import shape_of
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.reruns import (
    Shape,
    Standing,
    kept_order,
    kept_state,
    kept_undo,
    standing,
    unfinished,
)
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.formatting import listed
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.coroutines import Pause, make_each
from hephaestus_celery.exceptions import DefinitionError, RunStateError
from hephaestus_celery.runners.known_steps import most_attempts
from hephaestus_celery.runners.message_dispatcher import Dispatcher
from hephaestus_celery.runners.messages import Message, messages
from hephaestus_celery.runners.plan_cache import encoded_config
from hephaestus_celery.storage.durations import Durations, deadline_of
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.instances import decode_context, header_tags, read_headers, rerun_header
from hephaestus_celery.storage.queries import StoredRun
from hephaestus_celery.storage.reruns import Rerun
from hephaestus_celery.storage.schema import RERUN, ROUNDS, schema_of
from hephaestus_celery.storage.starts import FirstStep, NewRun

if TYPE_CHECKING:
    from hephaestus_celery.config import Settings
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

_RUN_ID_BITS = 58


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """An earlier run, as of one moment, and the run that is to be made of it.

    ``run`` has the states of all steps, ``workflow`` is the workflow of the new run, and ``moves``: it is another than that of
    the earlier run. ``step`` is the step that a fork runs again; None for a retry. ``initial`` is the JSON text of the new initial
    context; empty where it stays as it was. ``results`` are those of the kept steps; needed for routes that are asked. ``undo`` says
    how completed steps of the earlier run are undone.
    """

    run: StoredRun
    run_id: str
    workflow: type[WorkflowDefinition]
    moves: bool = False
    step: str | None = None
    id: str
    initial: str = ""
    by: str | None = None
    results: Mapping[str, str] = field(default_factory=dict[str, str])
    undo: Sequence[Undo] = ()

    @property
    def left(self) -> int | None:
        """How many compensations of the earlier run had not begun; None if it did not undo what had completed."""
        return None if self.run.undoing is None else self.run.undoing.left

    @property
    def undone(self) -> frozenset[str]:
        """The steps whose compensation was begun."""
        return frozenset() if self.left is None else frozenset(entry.step for entry in self.undo[self.left :])


def kept_keys(earlier: Earlier) -> frozenset[str]:
    """The completed steps of the earlier run that the new one keeps."""
    starts = earlier.step is not None or earlier.undone
    follows = _follows(earlier, shape_of(earlier.workflow.graph)) if starts else frozenset[str]()
    return frozenset(key for key, state in earlier.run.steps.items() if _is_completed(state) and key not in follows)


def asks_routes(earlier: Earlier) -> bool:
    """Whether routes are asked which targets the kept steps lead to: their results must be read for that."""
    return any(_is_asked(earlier, key) for key in kept_keys(earlier))


class Rerunner:
    """Prepares reruns."""

    def __init__(
        self, settings: Settings, dispatcher: Dispatcher, *, durations: Durations, clock: Clock, chance: Chance
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._durations = durations
        self._clock = clock
        self._chance = chance

    async def prepare(self, earlier: Earlier, *, pause: Pause) -> tuple[Rerun, Sequence[Message]]:
        """What the store is to make of the earlier run, and the messages of the steps that it starts.

        ``ValueError`` names what the workflow lacks of the steps that are kept, ``RunStateError`` says that nothing is left to run.
        ``pause`` is awaited now and then, since a run may have very many steps.
        """
        keys = kept_keys(earlier)
        check_kept(earlier, keys)
        await pause(0)
        context = _context(earlier, keys)
        targets = await make_each(keys, lambda key: (key, _targets(earlier, key, context)), pause=pause)
        chosen = dict(targets)
        shape = shape_of(earlier.workflow.graph)
        await pause(0)
        taken = _taken(chosen)
        await pause(0)
        where = standing(shape, kept=taken, again=_again(earlier, shape))
        _check_standing(earlier, where)
        await pause(0)
        follows = _follows(earlier, shape)
        run_id = self._new_run_id(earlier.id)
        hints = await self._messages(earlier, run_id, where.active, follows, pause)
        firsts = await make_each(hints, lambda hint: self._first(earlier, hint, follows), pause=pause)
        kept = await self._kept(earlier, keys, chosen, pause)
        given, configs = self._configs(earlier, where, chosen)
        await pause(0)
        rerun = Rerun(
            run=self._new_run(earlier, run_id, firsts),
            source=earlier.run_id,
            retry=earlier.step is None,
            entry=encode_entry(kind="fork", by=earlier.by, other_run=earlier.run_id),
            kept=kept,
            skipped=where.skipped,
            arrivals={key: counts for key, counts in where.arrivals.items() if shape.predecessors[key] > 1},
            shortfall=where.shortfall,
            given=given,
            configs=configs,
            undo=kept_undo(earlier.undo, keys, retry=earlier.step is None),
            left=earlier.left,
        )
        return rerun, hints

    async def _kept(
        self, earlier: Earlier, keys: Collection[str], chosen: Mapping[str, Sequence[Target]], pause: Pause
    ) -> dict[str, StepState]:
        states = earlier.run.steps

        def keep(place: tuple[int, str]) -> tuple[str, StepState]:
            order, key = place
            state = kept_state(states[key], order=order, source=earlier.run_id)
            return key, _settled_anew(earlier, key, state, chosen[key])

        return dict(await make_each(kept_order(states, keys), keep, pause=pause))

    def _new_run_id(self, id: str) -> str:
        milliseconds = self._clock.time_ns() // 1_000_000
        return new_run_id(milliseconds=milliseconds, instance_id=id, random_bits=self._chance.bits(_RUN_ID_BITS))

    async def _messages(
        self, earlier: Earlier, run_id: str, active: Sequence[str], follows: Container[str], pause: Pause
    ) -> Sequence[Message]:
        workflow = earlier.workflow
        headers = read_headers(earlier.run.message_headers)

        def message(key: str) -> Message:
            state = _repeated(earlier, key, follows)
            dispatch = DispatchStep(Activation(key), 1, 1, 1 if state is None else state.round)
            [made] = messages(workflow.name, workflow.version, run_id, [dispatch], headers=headers)
            return made

        return await make_each(active, message, pause=pause)

    def _new_run(self, earlier: Earlier, run_id: str, firsts: Sequence[FirstStep]) -> NewRun:
        workflow = earlier.workflow
        return NewRun(
            operation=run_id,
            run_id=run_id,
            instance_id=earlier.id,
            name=workflow.name,
            family=workflow.family,
            version=workflow.version,
            scope=workflow.unique.scope,
            tags=sorted(workflow.tags) if earlier.moves else header_tags(earlier.run.header),
            header=rerun_header(
                earlier.run.header,
                id=earlier.id,
                run_id=run_id,
                forked_from=earlier.run_id,
                workflow=workflow,
                moves=earlier.moves,
            ),
            initial=earlier.initial,
            firsts=firsts,
            durations=self._durations,
            schema=max(RERUN, schema_of(workflow), *(ROUNDS for first in firsts if first.round > 1)),
            compensates=bool(workflow.graph.compensations),
            message_headers=earlier.run.message_headers,
            deadline=deadline_of(workflow),
        )

    def _first(self, earlier: Earlier, hint: Message, follows: Container[str]) -> FirstStep:
        workflow, key = earlier.workflow, hint.step
        state = _repeated(earlier, key, follows)
        return FirstStep(
            step=key,
            config=None,
            max_attempts=most_attempts(workflow, workflow.graph.by_key[key], self._settings.default_retry),
            prepared_message=self._dispatcher.prepare(hint, parent=None),
            lane=self._dispatcher.lane(hint),
            origin=None if state is None else state.origin or earlier.run_id,
            round=1 if state is None else state.round,
        )

    def _configs(
        self, earlier: Earlier, where: Standing, chosen: Mapping[str, Sequence[Target]]
    ) -> tuple[Collection[str], dict[str, tuple[int, str]]]:
        # The steps whose config is copied, and the configs that are given anew: those of steps that have not completed. A
        # config is copied if all that gave one are kept.
        graph, states = earlier.workflow.graph, earlier.run.steps
        reached = [*where.active, *(key for key, counts in where.arrivals.items() if counts.taken)]
        given: list[str] = []
        configs: dict[str, tuple[int, str]] = {}
        for key in dict.fromkeys(reached):
            if key in chosen or key == "done":
                continue
            late = earlier.run.undoing is not None  # what completed after that has given no configs
            if not (earlier.moves or late) and not any(
                before.key not in chosen and _has_completed(states, before.key)
                for before in graph.predecessors(graph.by_key[key])
            ):
                given.append(key)
                continue
            found = self._config(earlier, graph.by_key[key], chosen)
            if found is not None:
                configs[key] = found
        return given, configs

    def _config(
        self, earlier: Earlier, step: StepClass, chosen: Mapping[str, Sequence[Target]]
    ) -> tuple[int, str] | None:
        graph, limit = earlier.workflow.graph, self._settings.max_payload
        sources = [(0, target) for target in graph.initials if target.step is step]
        sources += [
            (graph.rank(before.key), target)
            for before in graph.predecessors(step)
            for target in chosen.get(before.key, ())
            if target.step is step
        ]
        encoded = [(rank, encoded_config(target, limit=limit)) for rank, target in sources]
        return min(((rank, text) for rank, text in encoded if text is not None), default=None)


def _repeated(earlier: Earlier, key: str, follows: Container[str]) -> StepState | None:
    # The state of a step that a retry takes up where it stopped: its idempotency key, and the round that it was in. What was
    # undone, and all that follows, runs again from the beginning.
    state = earlier.run.steps.get(key) if earlier.step is None and key not in follows else None
    return None if state is None or (state.status is StepStatus.SKIPPED and not state.is_dropped) else state


def check_kept(earlier: Earlier, keys: Collection[str]) -> None:
    """``ValueError`` names what another version lacks of the steps that are kept, and of the step that is to run.

    It also names steps that a fork would keep, and that the earlier run has undone.
    """
    undone = sorted(earlier.undone & {key for key, state in earlier.run.steps.items() if _is_completed(state)})
    follows = _follows(earlier) if undone else frozenset[str]()
    kept = [key for key in undone if key not in follows]
    if earlier.step is not None and kept:
        raise ValueError(
            f"a fork from step {earlier.step} would keep {listed(kept)} of run {earlier.run_id}, whose compensation was begun; "
            "retry the run, or fork it from a step before"
        )
    if not earlier.moves:
        return
    graph, states = earlier.workflow.graph, earlier.run.steps
    wanted = [*sorted(keys), *([] if earlier.step is None else [earlier.step])]
    lacks = [f"step {key}" for key in wanted if key not in graph.by_key]
    lacks += [
        f"event {states[key].event} of step {key}"
        for key in sorted(keys)
        if key in graph.by_key and (graph.by_key[key], states[key].event) not in graph.table
    ]
    if lacks:
        workflow = earlier.workflow
        raise ValueError(
            f"version {workflow.version} of {workflow.family} can't go on with run {earlier.run_id}: it lacks {listed(lacks)}"
        )


def _check_standing(earlier: Earlier, where: Standing) -> None:
    if earlier.step is not None and earlier.step in where.skipped:
        raise ValueError(
            f"version {earlier.workflow.version} of {earlier.workflow.family} never comes to step {earlier.step} with what is "
            f"kept of run {earlier.run_id}; fork it from a step before"
        )
    if not where.active:
        raise RunStateError(
            f"run {earlier.run_id} has no step left that could run again, and has not reached Done; mend the workflow, or "
            "fork the run from the step before"
        )


def _is_completed(state: StepState) -> bool:
    return state.status is StepStatus.COMPLETED and state.compensates is None


def _follows(earlier: Earlier, shape: Shape | None = None) -> frozenset[str]:
    # The steps that run again whatever had become of them: that of a fork, or those that were undone, and all that follow.
    again = earlier.undone if earlier.step is None else {earlier.step}
    if not again:
        return frozenset()
    shape = shape or shape_of(earlier.workflow.graph)
    return frozenset[str]().union(*(shape.following(key) for key in again))


def _again(earlier: Earlier, shape: Shape) -> frozenset[str]:
    # The steps that are active whatever leads to them. While the earlier run goes on, and in another version, it is the law
    # on joins that says what had not ended; in another version also when the step of a fork starts.
    if earlier.moves:
        return frozenset()
    if earlier.step is not None and not earlier.run.status.final:
        return frozenset({earlier.step})
    started = unfinished(earlier.run.steps) - _follows(earlier, shape)
    unknown = sorted(key for key in started if key not in earlier.workflow.graph.by_key)
    if unknown:
        raise DefinitionError(
            f"run {earlier.run_id}",
            [
                f"workflow {earlier.workflow.name!r}, version {earlier.workflow.version}, has no step {key!r} any more"
                for key in unknown
            ],
        )
    return started if earlier.step is None else started | {earlier.step}


def _is_asked(earlier: Earlier, key: str) -> bool:
    # A route is asked in another version, and where older code has not stored what it gave.
    graph, state = earlier.workflow.graph, earlier.run.steps[key]
    step = graph.by_key.get(key)
    return step is not None and (step, state.event) in graph.dynamic and (earlier.moves or state.targets is None)


def _context(earlier: Earlier, keys: Collection[str]) -> Context[Any]:
    known = replace(
        earlier.run,
        initial=earlier.initial or earlier.run.initial,
        steps={key: earlier.run.steps[key] for key in keys},
        results=earlier.results,
        lacks_data=False,
        lacks_steps=False,
    )
    return decode_context(known, run_id=earlier.run_id, reader=None, definition=earlier.workflow)


def _targets(earlier: Earlier, key: str, context: Context[Any]) -> tuple[Target, ...]:
    # The targets that a kept step has taken: those that it had, or, where its route is asked, those that this gives.
    graph, state = earlier.workflow.graph, earlier.run.steps[key]
    step = graph.by_key.get(key)
    if step is None or state.event is None:
        return ()
    if _is_asked(earlier, key):
        return earlier.workflow.targets(step, state.event, context)
    declared = graph.table.get((step, state.event), ())
    return tuple(target for target in declared if state.targets is None or target.step.key in state.targets)


def _settled_anew(earlier: Earlier, key: str, state: StepState, targets: Sequence[Target]) -> StepState:
    # A kept step keeps the targets of a route that was asked; another version may have no route there.
    if _is_asked(earlier, key):
        return replace(state, targets=tuple(target.step.key for target in targets))
    return replace(state, targets=None) if earlier.moves else state


def _taken(chosen: Mapping[str, Sequence[Target]]) -> dict[str, frozenset[str]]:
    return {key: frozenset(target.step.key for target in targets) for key, targets in chosen.items()}


def _has_completed(states: Mapping[str, StepState], key: str) -> bool:
    state = states.get(key)
    return state is not None and state.status is StepStatus.COMPLETED
