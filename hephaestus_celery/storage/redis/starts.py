"""Starts of runs in Redis, as coroutines. Very many first steps are staged before, and settled in slices after."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import Any, cast

from hephaestus_celery.clock import Chance
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.exceptions import HephaestusError, StorageError
from hephaestus_celery.storage.redis.alike_starts import answers_of, call_of, grouped
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.errors import was_not_made
from hephaestus_celery.storage.redis.parameters import as_parameters, data_of_start, first_steps
from hephaestus_celery.storage.redis.pipelines import RunCall, try_each
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
            if was_not_made(error):
                error.stored = False
            raise

    async def create_many(self, runs: Sequence[NewRun]) -> Sequence[Sequence[DispatchStep] | Exception]:
        """Store several runs, in the order given: one round trip for a hundred small ones."""
        found: list[Sequence[DispatchStep] | Exception] = []
        for wide, group in groupby(runs, key=lambda run: Edges.of_start(run) is not None):
            alike = list(group)
            failed = found[-1] if found else None
            if isinstance(failed, StorageError) and failed.transient:
                found.extend([StorageError(*failed.args, stored=False)] * len(alike))
            elif wide:
                found.extend([await self._tried(run) for run in alike])
            else:
                found.extend(await self._create_together(alike))
        return found

    async def _create_together(self, runs: Sequence[NewRun]) -> list[Sequence[DispatchStep] | Exception]:
        groups = grouped(runs, self._calls.keys)
        asked = [call_of([runs[position] for position in group.positions]) for group in groups]
        found: dict[int, Sequence[DispatchStep] | Exception] = {}
        for group, reply in zip(groups, await try_each(self._calls, "create_many", asked), strict=True):
            for position, answer in zip(group.positions, answers_of(reply, len(group.positions)), strict=True):
                run = runs[position]
                found[position] = await self._tried(run) if answer is None else _read_answer(run, answer)
        return [found[position] for position in range(len(runs))]

    async def _tried(self, run: NewRun) -> Sequence[DispatchStep] | Exception:
        try:
            return await self.create(run)
        except HephaestusError as error:
            return error

    async def _create_wide(self, run: NewRun, edges: Edges) -> Sequence[DispatchStep]:
        settling = await self._settling.stage(edges, fence=None, name=self._chance.token())
        await self._created(replace(run, firsts=()), settling=settling)
        progress = Progress(edges)
        with suppress(StorageError):  # the start is stored and so accepted: the scheduler settles the rest
            await self._settling.settle(progress, run.operation, run.durations)
        return progress.dispatches

    async def _created(self, run: NewRun, *, settling: str | None = None) -> Sequence[DispatchStep]:
        call = _call(run, settling=settling)
        reply = await self._calls.of_run("create", run.run_id, call.parameters, *call.data, lists=call.lists)
        dispatches = _read_reply(run, reply)
        if isinstance(dispatches, Exception):
            raise dispatches
        return dispatches


def _call(run: NewRun, *, settling: str | None = None) -> RunCall:
    lists, firsts = first_steps(run)
    parameters = as_parameters(
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
        deadline=run.deadline,
        undo=run.compensates or None,
    )
    return RunCall(run_id=run.run_id, parameters=parameters, data=data_of_start(run), lists=lists)


def _read_answer(run: NewRun, answer: list[bytes] | StorageError) -> Sequence[DispatchStep] | Exception:
    if isinstance(answer, StorageError):
        return answer
    return _read_reply(run, answer[0] if len(answer) == 1 else answer)


def _read_reply(run: NewRun, reply: Any) -> Sequence[DispatchStep] | Exception:
    match reply:
        case b"posted":
            return ()
        case b"ok":
            return [first.dispatch for first in run.firsts]
        case _:
            holder, family, scope = (part.decode() for part in cast("list[bytes]", reply))
            return already_running(run, holder, family=family, scope=scope)
