"""Starting many runs: in batches, several in one round trip, each start by itself."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeGuard, TypeVar, cast

from hephaestus_celery.client.calls import AioCalls, AioWorkflowCalls, RuntimeCalls, WorkflowCalls
from hephaestus_celery.client.handle import InstanceHandle
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.runtimes import Runtime
from hephaestus_celery.client.start import check_metadata, check_start, check_workflow
from hephaestus_celery.core.definition import versioning
from hephaestus_celery.core.definition.workflow import InputT, TypedWorkflow, WorkflowDefinition
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import AlreadyRunningError, StorageError
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.starting import RunDraft
from hephaestus_celery.storage.starts import NewRun

T = TypeVar("T")
_BATCH = 100  # starts that are prepared and stored together
_HEAD_START = 0.001  # seconds in which a thread sends a batch
OnConflict = Literal["raise", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What all starts of a call have in common."""

    workflow: type[WorkflowDefinition]
    version: int | None
    telemetry: Mapping[str, Any]
    on_conflict: OnConflict


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A start that is ready to be stored."""

    new: NewRun
    messages: Sequence[Message]


Begin = Callable[[Coroutine[Any, Any, T]], Awaitable[T]]
"""Begins what a coroutine does, and gives what waits for its result."""


class _Started:
    """What became of the starts so far, in the order given."""

    def __init__(self, runtime: Runtime, on_conflict: OnConflict) -> None:
        self.handles: list[InstanceHandle | None] = []
        self.refused: list[Exception] = []
        self._runtime, self._on_conflict = runtime, on_conflict

    def add(self, results: Sequence[_Prepared | Exception]) -> None:
        """Note the results of a batch; raises if the store went away, with what was started before."""
        for result in results:
            if isinstance(result, _Prepared):
                handle = InstanceHandle(id=result.new.instance_id, run_id=result.new.run_id, hephaestus=self._runtime)
                self.handles.append(handle)
            elif not _is_away(result):
                if not (self._on_conflict == "skip" and isinstance(result, AlreadyRunningError)):
                    self.refused.append(result)
                self.handles.append(None)
        for result in results:
            if isinstance(result, StorageError) and result.transient:
                raise _interrupted(result, self.handles) from result


async def start_many(
    means: Means,
    runtime: Runtime,
    shared: _Shared,
    items: Iterable[tuple[str, object]],
    *,
    begin: Begin[list[_Prepared | Exception]],
) -> list[InstanceHandle | None]:
    """Start runs; see :meth:`Hephaestus.start_many`. While the store takes a batch, the next one is prepared."""
    started = _Started(runtime, shared.on_conflict)
    stored: Awaitable[list[_Prepared | Exception]] | None = None
    rest = iter(items)
    try:
        while batch := list(islice(rest, _BATCH)):
            prepared = _prepared(means, shared, batch)
            before, stored = stored, None
            if before is not None:
                started.add(await before)
            stored = begin(_store(means, prepared))
    except Exception:  # of the iterable: what is on its way counts all the same
        if stored is not None:
            started.add(await stored)
        raise
    if stored is not None:
        started.add(await stored)
    if started.refused:
        raise ExceptionGroup(f"{len(started.refused)} of {len(started.handles)} starts were refused", started.refused)
    return started.handles


def _is_away(result: object) -> bool:
    # What the store refuses for its own sake is refused alone; a store that is away ends the call.
    return isinstance(result, StorageError) and result.transient


def _is_pair(item: object) -> TypeGuard[tuple[str, object]]:
    # What is in the pair is checked as for any start.
    match item:
        case tuple() | list():
            return sum(1 for _ in cast("Iterable[object]", item)) == len(("value", "context"))
        case _:
            return False


def _prepared(means: Means, shared: _Shared, batch: Sequence[object]) -> list[_Prepared | Exception]:
    # All that a draft needs of the application's code comes before the messages, which look at the application once.
    drafts = [_draft(means, shared, item) for item in batch]
    with means.prepare():
        made = iter(means.parts.driver.new_runs([draft for draft in drafts if not isinstance(draft, Exception)]))
    return [draft if isinstance(draft, Exception) else _ready(draft, next(made)) for draft in drafts]


def _ready(draft: RunDraft, made: tuple[NewRun, Sequence[Message]] | Exception) -> _Prepared | Exception:
    if isinstance(made, Exception):
        made.add_note(f"in the start of {draft.id}")
        return made
    new, messages = made
    return _Prepared(new=new, messages=messages)


def _draft(means: Means, shared: _Shared, item: object) -> RunDraft | Exception:
    if not _is_pair(item):
        return ValueError(f"each start is a pair of a value and a context, not {shown(item)}")
    value, context = item
    try:
        start = check_start(
            shared.workflow,
            context,
            id=value,
            version=shared.version,
            telemetry_metadata=shared.telemetry,
            chance=means.parts.chance,
        )
        means.admit(start.workflow)
        return means.parts.driver.draft_run(
            start.workflow, id=start.id, context=start.context, telemetry=start.telemetry
        )
    except Exception as error:  # noqa: BLE001 - version_for is the user's code; the other starts are still tried
        error.add_note(f"in the start of {shown(value)}")
        return error


async def _store(means: Means, batch: Sequence[_Prepared | Exception]) -> list[_Prepared | Exception]:
    ready = [prepared for prepared in batch if isinstance(prepared, _Prepared)]
    stored = iter(await means.storage.create_many([prepared.new for prepared in ready]))
    results: list[_Prepared | Exception] = []
    unsent: list[Message] = []
    for prepared in batch:
        outcome: Exception | Sequence[DispatchStep] = next(stored) if isinstance(prepared, _Prepared) else prepared
        if isinstance(outcome, Exception):
            results.append(outcome)
        elif isinstance(prepared, _Prepared):
            unsent.extend(prepared.messages if outcome else ())
            results.append(prepared)
    if unsent or any(prepared.new.deadline is not None for prepared in ready):  # see store() in start.py
        await means.runner.dispatch(unsent)
    return results


def _interrupted(failed: StorageError, handles: Sequence[InstanceHandle | None]) -> StorageError:
    started = [handle for handle in handles if handle is not None]
    return StorageError(
        f"{failed}; {len(started)} runs had been started before, which `partial` of this error lists. To go on, start the others "
        "with on_conflict='skip': a start whose reply was lost may be stored",
        stored=failed.stored,
        transient=failed.transient,
        partial=started,
    )


def _begin_on(thread: Executor, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
    # The work never suspends, so it can be done on another thread; awaiting its result blocks until that is there.
    future = thread.submit(run_now, work)
    # Python changes threads every 5 ms. Without this pause the batch would be sent only when the next one is prepared.
    wait([future], timeout=_HEAD_START)

    async def result() -> T:
        return future.result()

    return result()


def _check_shared(means: Means, shared: _Shared) -> None:
    # What would be wrong with every start is refused before the first.
    check_workflow(shared.workflow)
    if shared.on_conflict not in ("raise", "skip"):
        raise ValueError(f"on_conflict must be 'raise' or 'skip', not {shown(shared.on_conflict)}")
    check_metadata(shared.telemetry)
    if shared.version is not None or not shared.workflow.versions:
        means.admit(versioning.resolve(shared.workflow, version=shared.version, options={}))


class ManyStarts(RuntimeCalls):
    """Starts of many runs, of ``Hephaestus``."""

    def start_many(
        self,
        workflow: type[TypedWorkflow[InputT]],
        starts: Iterable[tuple[str, InputT | Mapping[str, Any] | None]],
        *,
        on_conflict: OnConflict = "raise",
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> builtins.list[InstanceHandle | None]:
        """Start many runs of a workflow, several in one round trip; returns their handles, in the order given.

        ``starts`` gives pairs of a value of the instance id and a context. It may be a generator of any length: a few
        hundred starts are held at a time, and the handles. Each start is by itself, as by :meth:`start_instance`. Those that are
        refused are collected, and raised when all were tried, as an ``ExceptionGroup`` of what ``start_instance`` would
        raise; the others have started. With ``on_conflict="skip"`` an id whose run is active is no error: its place
        in the list is None. What is wrong with all starts (workflow, version, metadata) raises at once.

        When the store can't be reached any more, the ``partial`` of the ``StorageError`` is the list of the handles of all
        runs that were surely started. To go on, start the others with ``on_conflict="skip"``.
        """
        shared = _Shared(
            workflow=workflow, version=version, telemetry=telemetry_metadata or {}, on_conflict=on_conflict
        )
        self._check_open()
        means = self._means()
        _check_shared(means, shared)
        with ThreadPoolExecutor(1, thread_name_prefix="hephaestus-starts") as thread:
            return run_now(start_many(means, self, shared, starts, begin=partial(_begin_on, thread)))


class AioManyStarts(AioCalls):
    """Starts of many runs, of ``Hephaestus.aio``."""

    async def start_many(
        self,
        workflow: type[TypedWorkflow[InputT]],
        starts: Iterable[tuple[str, InputT | Mapping[str, Any] | None]],
        *,
        on_conflict: OnConflict = "raise",
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> builtins.list[InstanceHandle | None]:
        """Start many runs of a workflow, several in one round trip; as :meth:`Hephaestus.start_many`."""
        shared = _Shared(
            workflow=workflow, version=version, telemetry=telemetry_metadata or {}, on_conflict=on_conflict
        )
        self._check_open()
        means = self._means()
        _check_shared(means, shared)
        return await start_many(means, self._hephaestus, shared, starts, begin=asyncio.create_task)


class WorkflowManyStarts(WorkflowCalls, TypedWorkflow[InputT]):
    """Starts of many runs, of a workflow class."""

    @classmethod
    def start_many(
        cls,
        starts: Iterable[tuple[str, InputT | Mapping[str, Any] | None]],
        *,
        on_conflict: OnConflict = "raise",
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> builtins.list[InstanceHandle | None]:
        """Start many instances ``key::value``; see :meth:`Hephaestus.start_many`."""
        return cls._runtime(ManyStarts).start_many(
            cls, starts, on_conflict=on_conflict, version=version, telemetry_metadata=telemetry_metadata
        )


class AioWorkflowManyStarts(AioWorkflowCalls[InputT]):
    """Starts of many runs, of a workflow class's ``aio``."""

    async def start_many(
        self,
        starts: Iterable[tuple[str, InputT | Mapping[str, Any] | None]],
        *,
        on_conflict: OnConflict = "raise",
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> builtins.list[InstanceHandle | None]:
        """Start many instances ``key::value``; as :meth:`Hephaestus.start_many`."""
        return await self._runtime(AioManyStarts).start_many(
            self._workflow, starts, on_conflict=on_conflict, version=version, telemetry_metadata=telemetry_metadata
        )
