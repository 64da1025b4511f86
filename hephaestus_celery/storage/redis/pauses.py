"""Pauses of runs and workflows in Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.pauses import PauseOutcome, PauseReport, PauseRequest
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.framing import named, reading
from hephaestus_celery.storage.redis.parameters import as_parameters, stream_of
from hephaestus_celery.storage.redis.scripts import is_texts, is_values
from hephaestus_celery.storage.redis.stored_runs import read_pause, read_run
from hephaestus_celery.storage.schema import PAUSED, SCHEMA, written_by_newer


class Pauses:
    """Pauses the runs and workflows of one storage, and lets them go on."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def change(self, request: PauseRequest, *, paused: bool) -> PauseReport:
        """Pause a run, or let it go on."""
        run_id = request.run_id
        reply = named(
            await self._calls.of_run(
                "pause",
                run_id,
                as_parameters(
                    run_id=run_id,
                    op=request.operation,
                    schema=SCHEMA,
                    paused=paused,
                    raised=PAUSED,
                    dispatch_timeout=request.durations.dispatch_timeout,
                    stream=stream_of(request.durations),
                ),
                request.entry,
                json.dumps(request.by),
            )
        )
        match reply["verdict"]:
            case b"unknown_run":
                raise InstanceNotFoundError(
                    f"no run {run_id}; it was never started, its retention is over, or it was deleted"
                )
            case b"newer_schema":
                raise written_by_newer(run_id, int(reply["schema"]))
            case b"changed":
                with reading(run_id):
                    run = read_run(reply["run"], start=reply["start"], run_id=run_id)
                sequence = json.loads(reply["facts"])["seq"]
                return PauseReport(outcome=PauseOutcome.CHANGED, sequence=sequence, run=run)
            case verdict:
                return PauseReport(outcome=PauseOutcome(verdict.decode()))

    async def change_workflow(
        self, family: str, *, operation: str, by: str | None, durations: Durations, paused: bool
    ) -> bool:
        """Pause a workflow in every partition, or let it go on in every one."""
        first, *others = self._calls.keys.all_partitions()

        async def change(prefix: str, number: int | None) -> tuple[bool, int]:
            parameters = as_parameters(
                family=family,
                op=operation,
                paused=paused,
                number=number,
                dispatch_timeout=durations.dispatch_timeout,
            )
            changed, last = await self._calls.of_partition("pause_workflow", prefix, parameters, json.dumps(by))
            return changed == b"1", int(last)

        changed, number = await change(first, None)
        for prefix in others:  # also where nothing has changed: the call before may have been interrupted
            await change(prefix, number)
        return changed

    async def paused_workflows(self) -> Mapping[str, PauseMark]:
        """The workflow families that are paused, as the first partition says."""
        prefix = self._calls.keys.partition(0)
        families = [family.decode() for family in await self._calls.command("HKEYS", f"{prefix}pauses", fits=is_texts)]
        if not families:
            return {}
        found = await self._calls.command("MGET", *(f"{prefix}paused:{family}" for family in families), fits=is_values)
        return {family: read_pause(text.decode()) for family, text in zip(families, found, strict=True) if text}
