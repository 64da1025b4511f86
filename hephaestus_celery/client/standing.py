"""Why the steps of a run do not move: reads the facts of the store, the broker and the workers, and asks the rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.core.execution.standing import MessageFacts, Reason, StepFacts, reason
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.runners.fleet import BrokerAwayError, Fleet, Holdings, attempt_of
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.storage.codec import microseconds
from hephaestus_celery.storage.port import Storage

MOST_STEPS = 100
"""Steps of one run that are explained."""


def reasons(
    instance: Instance, storage: Storage, fleet: Fleet, entries: Sequence[HistoryEntry] = ()
) -> Sequence[Reason]:
    """Why each active or waiting step of a run does not move, a hundred at most; of a run that has ended none.

    ``entries`` is its history, which tells since when a step backs off. One bounded read of the run's facts, one of the workers' reports, and the length of each queue that a message waits in.
    ``StorageError`` if the store is out of reach; what only the broker knows is left out if that is.
    """
    moving = [
        Activation.parse(key)
        for key, state in instance.step_states.items()
        if state.status in (StepStatus.ACTIVE, StepStatus.WAITING)
    ]
    if instance.status.final or not moving:
        return ()
    facts = storage.facts(instance.run_id, moving[:MOST_STEPS])
    if facts is None:
        return ()
    unclaimed = any(step.state.awaits_claim for step in facts.steps.values())
    outside = _Outside(instance, fleet, fleet.holdings(storage) if unclaimed else ())
    return [
        reason(key, step, facts, workflow=outside.workflow, message=outside.message(Activation.parse(key), step))
        for key, step in ((key, _with_failure(key, step, entries)) for key, step in facts.steps.items())
        if step.state.status in (StepStatus.ACTIVE, StepStatus.WAITING)
    ]


def _with_failure(key: str, facts: StepFacts, entries: Sequence[HistoryEntry]) -> StepFacts:
    if not facts.state.backing_off:
        return facts
    ends = [
        entry.finished_at for entry in entries if entry.step == key and entry.kind == "attempt" and entry.finished_at
    ]
    return replace(facts, failed_at=microseconds(ends[-1]) if ends else None)


class _Outside:
    """What workers and the broker know of the messages of one run."""

    def __init__(self, instance: Instance, fleet: Fleet, holdings: Sequence[Holdings]) -> None:
        self._instance, self._fleet, self._holdings = instance, fleet, holdings
        self._lengths: dict[str, int | None] = {}
        self.workflow = f"{instance.workflow_name} version {instance.workflow_version}"

    def message(self, activation: Activation, facts: StepFacts) -> MessageFacts | None:
        """What is known of the unclaimed message of a step; None where there is none, or its lane is not known."""
        state = facts.state
        if not state.awaits_claim or state.lane is None:
            return None
        message = Message(
            run_id=self._instance.run_id,
            workflow=self._instance.workflow_name,
            activation=activation,
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
