"""Why the steps of a run do not move: reads the facts of the store, the broker and the workers, and asks the rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, zip_longest

from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.core.execution.run_standing import kept_by_pause, without_steps
from hephaestus_celery.core.execution.standing import MessageFacts, Reason, StepFacts, reason
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.pause import PausedBy, PauseMark, Pauses
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.runners.fleet import BrokerAwayError, Fleet, Holdings, attempt_of
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.storage.codec import microseconds
from hephaestus_celery.storage.port import Storage

_MOVING = (StepStatus.ACTIVE, StepStatus.WAITING)
MOST_STEPS = 100
"""Steps of one run that are explained."""


def reasons(
    instance: Instance, storage: Storage, fleet: Fleet, entries: Sequence[HistoryEntry] = ()
) -> Sequence[Reason]:
    """Why each active or waiting step of a run does not move, some of each kind where there are more than a hundred.

    Of a run that has none it is one reason for the whole run, of a run that has ended none. ``entries`` are those of its
    history, which tell since when a step backs off. One bounded read of the run's facts, one of the workers' reports, and the
    length of each queue that a message waits in. ``StorageError`` if the store is out of reach; what only the broker knows is
    left out if that is.
    """
    if instance.status.final:
        return ()
    chosen = _chosen(instance)
    facts = storage.facts(instance.run_id, [Activation.parse(key) for key in chosen])
    if facts is None:
        return ()
    if not chosen:
        return (without_steps(facts, since=microseconds(instance.started_at)),)
    failed = {
        entry.step: microseconds(entry.finished_at)
        for entry in entries
        if entry.kind == "attempt" and entry.step and entry.finished_at is not None
    }
    unclaimed = any(step.state.awaits_claim and step.state.held is None for step in facts.steps.values())
    outside = _Outside(instance, fleet, fleet.holdings(storage) if unclaimed else ())
    pauses = _pauses(instance)
    found: list[Reason] = []
    for key, step in facts.steps.items():
        if step.state.status in _MOVING:
            about = outside.message(Activation.parse(key), step)
            known = replace(step, failed_at=failed.get(key) if step.state.backing_off else None)
            why = reason(key, known, facts, workflow=outside.workflow, message=about)
            found.append(kept_by_pause(why, pauses, family=instance.workflow_family))
    return found


def _chosen(instance: Instance) -> Sequence[str]:
    # The steps that are explained: one of each kind in turn, so that many of one kind hide no other.
    kinds: dict[object, list[str]] = {}
    for key, state in instance.step_states.items():
        if state.status in _MOVING:
            kinds.setdefault(_kind(state), []).append(key)
    in_turn = (key for keys in zip_longest(*kinds.values()) for key in keys if key is not None)
    chosen = set(islice(in_turn, MOST_STEPS))
    return [key for key in instance.step_states if key in chosen]


def _kind(state: StepState) -> object:
    return state.status, state.fence is None, state.backing_off, state.lane, state.held, tuple(state.accepts)


def _pauses(instance: Instance) -> Pauses:
    marks = {pause.reason: PauseMark(at=microseconds(pause.since), by=pause.by) for pause in instance.pauses}
    return Pauses(run=marks.get(PausedBy.RUN), workflow=marks.get(PausedBy.WORKFLOW))


class _Outside:
    """What workers and the broker know of the messages of one run."""

    def __init__(self, instance: Instance, fleet: Fleet, holdings: Sequence[Holdings]) -> None:
        self._instance, self._fleet, self._holdings = instance, fleet, holdings
        self._lengths: dict[str, int | None] = {}
        self.workflow = f"{instance.workflow_name} version {instance.workflow_version}"

    def message(self, activation: Activation, facts: StepFacts) -> MessageFacts | None:
        """What is known of the unclaimed message of a step; None where there is none, or its lane is not known."""
        state = facts.state
        if not state.awaits_claim or state.held is not None or state.lane is None:
            return None
        message = Message(
            run_id=self._instance.run_id,
            workflow=self._instance.workflow_name,
            activation=activation.in_round(state.round),
            attempt=state.attempt,
            token=state.dispatch,
        )
        queue = Lane.parse(state.lane).queue
        consumers = [each for each in self._holdings if queue in each.queues]
        holder = next((each for each in self._holdings if _holds(each, message)), None)
        return MessageFacts(
            queue=queue,
            consumers=[each.worker or "a worker" for each in consumers],
            knowing=self._knowing(consumers),
            holder=None if holder is None else holder.worker or "a worker",
            rate=None if holder is None else holder.rates.get(message.task_name),
            queued=self._length(state.lane),
        )

    def _knowing(self, consumers: Sequence[Holdings]) -> Sequence[str] | None:
        if any(each.workflows is None for each in consumers):
            return None
        name, version = self._instance.workflow_name, self._instance.workflow_version
        return [each.worker or "a worker" for each in consumers if version in (each.workflows or {}).get(name, ())]

    def _length(self, lane: str) -> int | None:
        if lane not in self._lengths:
            try:
                self._lengths[lane] = self._fleet.length(Lane.parse(lane))
            except BrokerAwayError:
                self._lengths[lane] = None
        return self._lengths[lane]


def _holds(holdings: Holdings, message: Message) -> bool:
    return message.task_name in holdings.many or attempt_of(message.task_id) in holdings.messages
