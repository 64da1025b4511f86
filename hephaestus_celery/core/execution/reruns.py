"""Reruns: the state of a run that a retry or a fork makes of an earlier one, whose completed steps it keeps.

The earlier run has settled edges in the order of its commits. Here they are settled in topological order instead, for the
steps that are kept. Any order of results ends in the same state, so this is the state of a run in which only these have
completed so far. A join has counted the branches that are kept, and waits for the others.

Laws held here (tested in ``tests/properties``): a step that is kept never runs again; a retry of a run that was cut off at
any point ends in the state of a run without the cut.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from hephaestus_celery.core.execution.commands import send
from hephaestus_celery.core.execution.joins import Arrivals, Fate, Shortfall, fate_of
from hephaestus_celery.core.execution.state import Decision, EarlyEvent, RunState, Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.undo import Undo


class Obstacle(StrEnum):
    """Why no rerun can be made of a run."""

    RETRIED = "retried"  # it was retried before: the run that came of it is the one to retry
    ACTIVE = "active"  # it has not ended, and holds the id
    COMPLETED = "completed"  # nothing of it is to be retried
    COMPENSATING = "compensating"  # it undoes what has completed, or has begun to since it was read


def find_obstacle(source: RunState, *, retry: bool, same_id: bool, left: int | None = None) -> Obstacle | None:
    """Why the run can't be retried, or forked under its own id (``same_id``); None if it can.

    ``left`` is how many compensations had not begun when the run was read; None if it did not undo.
    """
    if retry and source.retried_as is not None:
        return Obstacle.RETRIED
    if not retry and source.compensating:
        return Obstacle.COMPENSATING
    if same_id and not source.status.final:
        return Obstacle.ACTIVE
    if retry and source.status is Status.COMPLETED:
        return Obstacle.COMPLETED
    now = None if source.undoing is None else source.undoing.left
    return None if left == now else Obstacle.COMPENSATING


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The graph of a workflow, by the keys of its steps. ``order`` is topological, and has every step.

    ``needed`` has the numbers of counted joins.
    """

    order: Sequence[str]
    initials: Collection[str]
    successors: Mapping[str, Sequence[str]]
    predecessors: Mapping[str, int]
    needed: Mapping[str, int] = field(default_factory=dict[str, int])

    def following(self, step: str) -> frozenset[str]:
        """The step itself, and all that may come after it."""
        found = {step}
        for key in self.order:  # in topological order: all that leads to a step is known before it
            if key in found:
                found.update(self.successors.get(key, ()))
        return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a rerun begins: the steps that are ``active``, those that are ``skipped``, and the counts of joins.

    ``shortfall`` is the first counted join of the skipped ones.
    """

    active: tuple[str, ...]
    skipped: tuple[str, ...]
    arrivals: Mapping[str, Arrivals] = field(repr=False)
    shortfall: Shortfall | None = None


def standing(shape: Shape, *, kept: Mapping[str, Collection[str]], again: Collection[str]) -> Standing:
    """Where a run stands in which the ``kept`` steps have completed, each with the targets that it took.

    ``again`` are steps that are active whatever leads to them: the earlier run had started them. Other steps are active or
    skipped by the law on joins.
    """
    counts: dict[str, Arrivals] = {}
    active: list[str] = []
    skipped: list[str] = []
    shortfall: Shortfall | None = None
    for key in shape.order:
        taken: Collection[str] = ()
        if key in kept:
            taken = kept[key]
        elif key in again or key in shape.initials:
            active.append(key)
            continue
        else:
            reached, needed, predecessors = (
                counts.get(key, Arrivals()),
                shape.needed.get(key, 0),
                shape.predecessors[key],
            )
            fate = fate_of(reached, predecessors=predecessors, needed=needed)
            if fate is Fate.STARTS:
                active.append(key)
            if fate is not Fate.SKIPPED:
                continue
            skipped.append(key)
            if needed and shortfall is None:
                shortfall = Shortfall(step=key, needed=needed, predecessors=predecessors, came=reached.taken)
        for successor in shape.successors.get(key, ()):
            before = counts.get(successor, Arrivals())
            counts[successor] = Arrivals(before.settled + 1, before.taken + (successor in taken))
    return Standing(active=tuple(active), skipped=tuple(skipped), arrivals=counts, shortfall=shortfall)


def kept_states(states: Mapping[str, StepState], keys: Collection[str], *, source: str) -> dict[str, StepState]:
    """The states in which a rerun keeps these completed steps of the run ``source``, in the order of their completion."""
    return {key: kept_state(states[key], order=order, source=source) for order, key in kept_order(states, keys)}


def kept_order(states: Mapping[str, StepState], keys: Collection[str]) -> list[tuple[int, str]]:
    """The new ``order`` of each completed step that is kept, in the order of their completion.

    They have completed before all that the new run does, so it ends with 0: the events of that are numbered from 1 on.
    """
    return list(enumerate(sorted(keys, key=lambda key: states[key].order or 0), start=1 - len(keys)))


def kept_state(state: StepState, *, order: int, source: str) -> StepState:
    """The state in which a rerun keeps a completed step of the run ``source``."""
    return StepState(
        status=StepStatus.COMPLETED,
        attempt=state.attempt,
        max_attempts=state.max_attempts,
        event=state.event,
        order=order,
        targets=state.targets,
        origin=state.origin or source,
        round=state.round,
    )


def kept_undo(undo: Sequence[Undo], kept: Container[str], *, retry: bool) -> tuple[Undo, ...]:
    """How a rerun undoes the steps that it keeps: a fork does not, since the earlier run has completed them."""
    return tuple(entry for entry in undo if entry.step in kept) if retry else ()


def unfinished(states: Mapping[str, StepState]) -> frozenset[str]:
    """The steps that a run had started, and that have neither completed nor been skipped."""
    over = (StepStatus.COMPLETED, StepStatus.SKIPPED)
    return frozenset(
        key
        for key, state in states.items()
        if state.compensates is None and (state.status not in over or state.is_dropped)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A step that is active when a rerun begins. ``origin`` and ``round``: see :class:`StepState`."""

    max_attempts: int
    lane: str | None = None
    origin: str | None = None
    round: int = 1


def create(
    *,
    kept: Mapping[str, StepState],
    skipped: Iterable[str],
    arrivals: Mapping[str, Arrivals],
    active: Mapping[str, Beginning],
    times: Times,
    shortfall: Shortfall | None = None,
    undo: tuple[Undo, ...] | None = None,
) -> Decision:
    """Create a rerun: dispatch the steps that are active. The entry of the history takes the first event number.

    ``shortfall`` is a counted join among the skipped steps. ``undo`` says how steps that are kept are undone; None if the workflow
    has no compensations.
    """
    started = {
        key: StepState(
            status=StepStatus.ACTIVE,
            max_attempts=beginning.max_attempts,
            queued_at=times.now,
            lane=beginning.lane,
            sent_at=times.apart,
            origin=beginning.origin,
            round=beginning.round,
        )
        for key, beginning in active.items()
    }
    dead = {key: StepState(status=StepStatus.SKIPPED, attempt=0) for key in skipped}
    steps = {**kept, **dead, **started}
    state = RunState(status=Status.PENDING, steps=steps, arrivals=arrivals, sequence=1, shortfall=shortfall, undo=undo)
    commands = [command for key, step in started.items() for command in send(Activation.parse(key), step, times)]
    return Decision(verdict=Verdict.APPLIED, state=state, commands=tuple(commands), sequence=1, reserved=1)


def with_events(state: RunState, source: RunState, *, retry: bool) -> RunState:
    """The state of a rerun with the events of the earlier run that go along.

    The keys of events that kept steps have taken do, with a retry the early events and their keys too. A key whose step is
    not known, since older code has stored it, goes along. Others may come again: their steps run again.
    """
    early: tuple[EarlyEvent, ...] = source.early if retry else ()
    with_early = {event.key for event in early}
    owned = {event.key for event in source.early} | source.owners.keys()
    keys = {
        key
        for key in source.keys
        if key in with_early or key not in owned or _is_completed(state, source.owners.get(key))
    }
    owners = {key: owner for key, owner in source.owners.items() if key in keys}
    return replace(state, early=early, kept=source.kept if early else 0, keys=frozenset(keys), owners=owners)


def _is_completed(state: RunState, step: str | None) -> bool:
    found = None if step is None else state.steps.get(step)
    return found is not None and found.status is StepStatus.COMPLETED
