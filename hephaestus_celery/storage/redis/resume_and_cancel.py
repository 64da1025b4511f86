"""Resumes, timers of users and cancellations in Redis. All are coroutines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.framing import named, reading
from hephaestus_celery.storage.redis.listing import Listing
from hephaestus_celery.storage.redis.parameters import as_parameters, retention_of, stream_of
from hephaestus_celery.storage.redis.reads import Reads
from hephaestus_celery.storage.redis.replies import read_cancellation, read_delivery
from hephaestus_celery.storage.redis.stored_runs import read_run
from hephaestus_celery.storage.resume_and_cancel import Cancellation, CancelRequest, Delivery, DeliveryReport
from hephaestus_celery.storage.schema import SCHEMA, written_by_newer

_MOST_WAITING = 100  # the most steps of a large run that one event is offered to


class ResumeAndCancel:
    """Delivers events to the runs of one storage, sets timers of users, and cancels."""

    def __init__(self, calls: AsyncCalls, reads: Reads, listing: Listing) -> None:
        self._calls, self._reads, self._listing = calls, reads, listing

    async def deliver(self, delivery: Delivery) -> DeliveryReport:
        """Record an event for the step that waits for it: one round trip, or a few if very many runs or steps qualify."""
        asked = delivery.run.id
        facts = await self._deliver(delivery, asked)
        if facts["v"] == "unresolved":  # one call was not enough to find the newest run of the id
            newest = await self._newest(delivery.run)
            if newest is None:
                return DeliveryReport(outcome=Delivered.UNKNOWN_RUN)
            delivery = replace(delivery, run=RunReference(id=newest))
            facts = await self._deliver(delivery, asked)
        if facts["v"] == "many":  # the run has too many steps to look at in one call
            delivery = replace(delivery, run=RunReference(id=facts["run"]))
            facts = await self._deliver(delivery, asked, among=await self._concerned(facts["run"], delivery.name))
        if facts["v"] == "newer_schema":
            raise written_by_newer(facts["run"], facts["schema"])
        return read_delivery(facts)

    async def schedule(self, run_id: str, activation: Activation, *, reference: str, delay: int) -> bool:
        """Set a durable timer beside the step's own."""
        parameters = as_parameters(run_id=run_id, step=str(activation), reference=reference, delay=delay)
        return bool(await self._calls.of_run("schedule", run_id, parameters))

    async def unschedule(self, run_id: str, activation: Activation, *, reference: str, operation: str) -> bool:
        """Take such a timer back."""
        parameters = as_parameters(run_id=run_id, step=str(activation), reference=reference, op=operation)
        return bool(await self._calls.of_run("unschedule", run_id, parameters))

    async def cancel(self, request: CancelRequest) -> Cancellation | None:
        """End a run; returns it with the states that its steps had."""
        run_id, durations = request.run_id, request.durations
        answer = await self._calls.of_run(
            "cancel",
            run_id,
            as_parameters(
                run_id=run_id,
                op=request.operation,
                schema=SCHEMA,
                retention=retention_of(durations),
                stream=stream_of(durations),
                compensate=request.compensate or None,
                dispatch_timeout=durations.dispatch_timeout if request.compensate else None,
            ),
            request.entry,
            "" if request.reason is None else json.dumps(request.reason),
        )
        reply = named(answer)
        verdict = reply["verdict"]
        if verdict == b"unknown_run":
            raise InstanceNotFoundError(
                f"no run {run_id}; it was never started, its retention is over, or it was deleted"
            )
        if verdict == b"newer_schema":
            raise written_by_newer(run_id, int(reply["schema"]))
        if verdict == b"stale":
            return None
        with reading(run_id):
            run = read_run(reply["run"], start=reply["start"], run_id=run_id)
        if run.lacks_steps:
            run = replace(run, steps=await self._reads.states(run_id), lacks_steps=False)  # they no longer change
        return read_cancellation(reply, run=run)

    async def _deliver(
        self, delivery: Delivery, asked: str, *, among: Sequence[str] | None = None
    ) -> Mapping[str, Any]:
        reference, keys = delivery.run, self._calls.keys
        by_run = is_run_id(reference.id)
        reply = await self._calls.of_partition(
            "deliver",
            keys.of_run(reference.id).prefix if by_run else keys.of_instance(reference.id),
            as_parameters(
                run_id=reference.id if by_run else None,
                id=None if by_run else reference.id,
                family=reference.family,
                version=None if reference.version is None else str(reference.version),
                exact=reference.exact or None,
                op=delivery.operation,
                owner=asked if asked != reference.id else None,
                name=delivery.name,
                only=delivery.step,
                among=among,
                keep=delivery.keep or None,
                key=delivery.key,
                by=delivery.by,
                dispatch_timeout=delivery.durations.dispatch_timeout,
                schema=SCHEMA,
            ),
            delivery.data,
        )
        return json.loads(reply[0])

    async def _newest(self, reference: RunReference) -> str | None:
        version = reference.version if reference.exact else None
        found = await self._listing.candidates(reference.id, family=reference.family, version=version)
        return found.newest

    async def _concerned(self, run_id: str, name: str) -> list[str]:
        # The steps of a large run that may wait for an event of this name, and the steps that are being executed.
        states = (await self._reads.scan_states(run_id)).items()
        waiting = [key for key, state in states if state.can_wait and name in state.accepts]
        executing = [key for key, state in states if state.status is StepStatus.ACTIVE and state.fence]
        return [*waiting[:_MOST_WAITING], *executing[:_MOST_WAITING]]
