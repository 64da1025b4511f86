"""What comes from outside of a run: events, timers, and its cancellation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.interventions import Cancellation, Delivery, DeliveryReport
from hephaestus_celery.storage.redis import replies
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.durations import HeldDurations
from hephaestus_celery.storage.redis.framing import reading
from hephaestus_celery.storage.redis.parameters import as_parameters
from hephaestus_celery.storage.redis.reads import Reads
from hephaestus_celery.storage.redis.stored_runs import read_run
from hephaestus_celery.storage.schema import SCHEMA, written_by_newer

_MOST_WAITING = 100  # steps of a large run that may be what an event is for


class Outside:
    """Applies to the runs of one storage what their users ask for."""

    def __init__(self, calls: Calls, reads: Reads, durations: HeldDurations) -> None:
        self._calls, self._reads, self._durations = calls, reads, durations

    def deliver(self, delivery: Delivery) -> DeliveryReport:
        """Record an event for the step that waits for it."""
        report = self._deliver(delivery, among=None)
        if report is None:  # the run has many steps, and the store does not look at all of them in one call
            states = self._reads.scan_states(delivery.run_id).items()
            waiting = [key for key, state in states if state.can_wait and delivery.name in state.accepts]
            executing = [key for key, state in states if state.status is StepStatus.ACTIVE and state.fence]
            report = self._deliver(delivery, among=[*waiting[:_MOST_WAITING], *executing[:_MOST_WAITING]])
        assert report is not None  # noqa: S101 - it was told where to look
        return report

    def schedule(self, run_id: str, step: str, *, reference: str, delay: int) -> bool:
        """Set a durable timer beside the step's own."""
        parameters = as_parameters(run_id=run_id, step=step, reference=reference, delay=delay)
        return bool(self._calls.of_run("schedule", run_id, parameters))

    def unschedule(self, run_id: str, step: str, *, reference: str, operation: str) -> bool:
        """Take such a timer back."""
        parameters = as_parameters(run_id=run_id, step=step, reference=reference, op=operation)
        return bool(self._calls.of_run("unschedule", run_id, parameters))

    def cancel(self, run_id: str, *, operation: str, reason: str | None, entry: str) -> Cancellation | None:
        """End a run; gives it with its steps as they stood."""
        reply = self._calls.of_run(
            "cancel",
            run_id,
            as_parameters(run_id=run_id, op=operation, schema=SCHEMA, retention=self._durations.retention),
            entry,
            "" if reason is None else json.dumps(reason),
        )
        if reply[0] == b"unknown_run":
            raise InstanceNotFoundError(f"no run {run_id}; it was never started, or its retention is over")
        if reply[0] == b"newer_schema":
            raise written_by_newer(run_id, int(reply[1]))
        if reply[0] == b"stale":
            return None
        with reading(run_id):
            run = read_run(reply[3], start=reply[2], run_id=run_id)
        if run.lacks_steps:
            run = replace(run, steps=self._reads.states(run_id), lacks_steps=False)  # they don't move any more
        return replies.read_cancellation(reply, run=run)

    def _deliver(self, delivery: Delivery, *, among: Sequence[str] | None) -> DeliveryReport | None:
        reply = self._calls.of_run(
            "deliver",
            delivery.run_id,
            as_parameters(
                run_id=delivery.run_id,
                op=delivery.operation,
                name=delivery.name,
                only=delivery.step,
                among=among,
                keep=delivery.keep or None,
                key=delivery.key,
                dispatch_timeout=self._durations.dispatch_timeout,
            ),
            delivery.data,
        )
        return None if replies.is_too_wide(reply) else replies.read_delivery(reply)
