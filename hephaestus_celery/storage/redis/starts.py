"""Starts of runs in Redis, as coroutines. Very many first steps are staged before, and settled in slices after."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import cast

from redis.exceptions import RedisError

from hephaestus_celery.clock import Chance
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.errors import was_not_done
from hephaestus_celery.storage.redis.parameters import as_parameters, whole
from hephaestus_celery.storage.redis.settling import Settling
from hephaestus_celery.storage.redis.wide_steps import Edges, Progress
from hephaestus_celery.storage.starts import NewRun, already_running


class Starts:
    """Creates the runs of one storage; see ``create`` of ``Storage``."""

    def __init__(self, calls: AsyncCalls, settling: Settling, *, chance: Chance) -> None:
        self._calls, self._settling, self._chance = calls, settling, chance

    async def create(self, run: NewRun) -> Sequence[DispatchStep]:
        """Store a run and its start; if the run was certainly not stored, the error says so."""
        try:
            edges = Edges.of_start(run)
            return await (self._created(run) if edges is None else self._create_wide(run, edges))
        except StorageError as error:
            # An error without a cause comes from the script itself: it refused a call that arrived too late.
            if not isinstance(error.__cause__, RedisError) or was_not_done(error.__cause__):
                error.stored = False
            raise

    async def _create_wide(self, run: NewRun, edges: Edges) -> Sequence[DispatchStep]:
        settling = await self._settling.stage(edges, fence=None, name=self._chance.token())
        await self._created(replace(run, firsts=()), settling=settling)
        progress = Progress(edges)
        with suppress(StorageError):  # the start is stored and so accepted: the scheduler settles the rest
            await self._settling.settle(progress, run.operation, run.durations)
        return progress.dispatches

    async def _created(self, run: NewRun, *, settling: str | None = None) -> Sequence[DispatchStep]:
        lists, firsts, texts = _first_steps(run)
        reply = await self._calls.of_run(
            "create",
            run.run_id,
            as_parameters(
                run_id=run.run_id,
                id=run.instance_id,
                name=run.name,
                family=run.family,
                version=str(run.version),
                scope=run.scope,
                tags=list(run.tags),
                firsts=firsts,
                schema=run.schema,
                lanes={first.step: first.lane for first in run.firsts if first.lane is not None} or None,
                dispatch_timeout=run.durations.dispatch_timeout,
                headers=run.message_headers,
                settling=settling,
            ),
            run.header,
            run.initial,
            *(first.config or "" for first in run.firsts),
            *texts,
            lists=lists,
        )
        match reply:
            case b"posted":
                return ()
            case b"ok":
                return [DispatchStep(Activation(first.step), 1, 1) for first in run.firsts]
            case _:
                holder, family, scope = (part.decode() for part in cast("list[bytes]", reply))
                raise already_running(run, holder, family=family, scope=scope)


def _first_steps(run: NewRun) -> tuple[list[str], list[list[object]], list[str]]:
    # The lists for messages, the first steps in the form of ``create.lua``, and the texts of the messages.
    prepared = [first.prepared_message for first in run.firsts if first.prepared_message is not None]
    lists = sorted({message.list for message in prepared})
    firsts: list[list[object]] = []
    for first in run.firsts:
        message = first.prepared_message
        place = [] if message is None else [lists.index(message.list) + 1, prepared.index(message) + 1]
        firsts.append([first.step, whole(first.max_attempts), *place])
    return lists, firsts, [message.text for message in prepared]
