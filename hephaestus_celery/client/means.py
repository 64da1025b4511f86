"""What the calls of clients work with: store, runner and pauses as coroutines, and the parts of the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hephaestus_celery.client.parts import Parts
from hephaestus_celery.config import Settings
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.coroutines import Pause, make_each
from hephaestus_celery.exceptions import HephaestusError
from hephaestus_celery.locks import Turns
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.publishing import not_blocking
from hephaestus_celery.storage.async_port import AsyncStorage
from hephaestus_celery.storage.immediate import Immediate
from hephaestus_celery.storage.queries import DataKind, Reader, StoredEntry, StoredRun
from hephaestus_celery.storage.snapshot import whole
from hephaestus_celery.storage.step_standings import with_standings

if TYPE_CHECKING:
    from hephaestus_celery.runners.port import AsyncRunner, Runner
    from hephaestus_celery.storage.durations import Durations
    from hephaestus_celery.telemetry.emitter import Emitter

A = TypeVar("A")
B = TypeVar("B")

_READING = 2
"""How many of the waits that end at once read their runs at the same time; each takes a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a call works with. A call is written once, as a coroutine: see :func:`blocking`.

    ``reader`` is what instances read from, later and without an ``await``; ``complete`` reads before what they may not read
    later. ``pause`` sleeps for some seconds. ``turn`` keeps
    the many that do one thing at the same time from doing it all at once. ``admit`` refuses a workflow that can't be
    started here. ``unanswered`` has the operations of calls that had no reply, by what they were about.
    """

    parts: Parts
    storage: AsyncStorage
    runner: AsyncRunner
    reader: Reader
    complete: Callable[[StoredRun, str], Awaitable[StoredRun]]
    pause: Pause
    prepare: Callable[[], AbstractContextManager[None]]
    turn: Callable[[], AbstractAsyncContextManager[None]]
    admit: Callable[[type[WorkflowDefinition]], None]
    unanswered: dict[str, str]

    def catch_up(self) -> float | None:
        """Execute what is due where the runner does that on the threads of callers, and give the seconds until the next look."""
        return None if self.parts.callers is None else self.parts.callers.catch_up()

    async def wait_finished(self, run_id: str, timeout: float | None) -> bool:
        """Wait for the end of a run, at most ``timeout`` seconds; whether it has ended."""
        if self.parts.callers is None:
            return await self.storage.wait_finished(run_id, timeout=timeout)
        clock = self.parts.clock
        deadline = None if timeout is None else clock.monotonic_ns() + int(timeout * 1e9)
        while True:
            pause = self.catch_up() or 0.0
            left = None if deadline is None else max(0.0, (deadline - clock.monotonic_ns()) / 1e9)
            if await self.storage.wait_finished(run_id, timeout=pause if left is None else min(pause, left)):
                return True
            if left == 0.0:
                return False

    @property
    def settings(self) -> Settings:
        """The settings of the runtime."""
        return self.parts.driver.settings

    @property
    def durations(self) -> Durations:
        """The durations that requests to the storage carry."""
        return self.parts.driver.durations

    @property
    def emitter(self) -> Emitter:
        """Emits the telemetry events of the runtime."""
        return self.parts.driver.emitter

    async def each(self, items: Iterable[A], make: Callable[[A], B]) -> list[B]:
        """Make something of each item; of many, a few at a time, so that an event loop can go on in between."""
        return await make_each(items, make, pause=self.pause)

    def token(self) -> str:
        """A name for an operation that nobody else has."""
        return self.parts.chance.token()


def blocking(
    parts: Parts, *, admit: Callable[[type[WorkflowDefinition]], None], turns: Turns, unanswered: dict[str, str]
) -> Means:
    """Means that never suspend, for :func:`~hephaestus_celery.coroutines.run_now`."""

    async def complete(run: StoredRun, _: str) -> StoredRun:
        return run

    async def pause(seconds: float) -> None:
        if seconds:
            parts.clock.sleep(seconds)

    return Means(
        parts=parts,
        storage=Immediate(parts.storage),
        runner=_ImmediateRunner(parts.runner),
        reader=parts.storage,
        complete=complete,
        pause=pause,
        prepare=nullcontext,
        turn=lambda: _Immediately(turns.turn()),
        admit=admit,
        unanswered=unanswered,
    )


def on_loop(parts: Parts, *, admit: Callable[[type[WorkflowDefinition]], None], unanswered: dict[str, str]) -> Means:
    """Means for one event loop, which nothing of them blocks."""
    storage = parts.storage.aio()
    reading = asyncio.Semaphore(_READING)

    async def complete(run: StoredRun, run_id: str) -> StoredRun:
        found = await whole(run, run_id=run_id, reader=storage)
        return await with_standings(found, run_id=run_id, storage=storage)

    return Means(
        parts=parts,
        storage=storage,
        runner=parts.runner.aio(),
        reader=_NoReader(),
        complete=complete,
        pause=asyncio.sleep,
        prepare=not_blocking,
        turn=lambda: reading,
        admit=admit,
        unanswered=unanswered,
    )


class _NoReader:
    """Refuses to read for an instance: on an event loop nothing may be read without an ``await``."""

    def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        raise _not_read(run_id)

    def read_initial(self, run_id: str) -> str:
        raise _not_read(run_id)

    def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        raise _not_read(run_id)

    def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        raise _not_read(run_id)

    def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]:
        raise _not_read(steps[0][0])

    def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]:
        raise _not_read(run_id)


def _not_read(run_id: str) -> HephaestusError:
    return HephaestusError(
        f"this was not read of run {run_id}, and reading it now would block the event loop: an instance of aio.list has no "
        f"context, metadata, failure and the like. Read the run with: await hephaestus.aio.get({run_id!r})"
    )


class _ImmediateRunner:
    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def dispatch(self, messages: Sequence[Message]) -> None:
        self._runner.dispatch(messages)

    async def revoke(self, task_ids: Sequence[str]) -> None:
        self._runner.revoke(task_ids)

    async def interrupt(self, holders: Mapping[str, str]) -> Collection[str]:
        return self._runner.interrupt(holders)

    async def flush(self, run_id: str) -> None:
        self._runner.flush(run_id)


class _Immediately(AbstractAsyncContextManager[None]):
    """A context manager for ``async with`` that never suspends."""

    def __init__(self, manager: AbstractContextManager[None]) -> None:
        self._manager = manager

    async def __aenter__(self) -> None:
        self._manager.__enter__()

    async def __aexit__(self, *raised: object) -> None:
        self._manager.__exit__(*raised)  # type: ignore[arg-type] - as they came
