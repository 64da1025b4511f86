"""What the calls of clients work with: store, runner and pauses as coroutines, and the parts of the runtime."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hephaestus_celery.client.parts import Parts
from hephaestus_celery.config import Settings
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.locks import Turns
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.storage.async_port import AsyncStorage
from hephaestus_celery.storage.immediate import Immediate
from hephaestus_celery.storage.queries import Reader

if TYPE_CHECKING:
    from hephaestus_celery.runners.port import Runner
    from hephaestus_celery.storage.durations import Durations
    from hephaestus_celery.telemetry.emitter import Emitter


class AsyncRunner(Protocol):
    """What clients ask of a runner, as coroutines; see :class:`~hephaestus_celery.runners.port.Runner`."""

    async def dispatch(self, messages: Sequence[Message]) -> None: ...

    async def revoke(self, task_ids: Sequence[str]) -> None: ...

    async def interrupt(self, holders: Mapping[str, str]) -> Collection[str]: ...

    async def flush(self, run_id: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a call works with. A call is written once, as a coroutine: see :func:`blocking`.

    ``reader`` is what instances read from, later and without an ``await``. ``pause`` sleeps for some seconds. ``turn`` keeps
    the many that do one thing at the same time from doing it all at once. ``admit`` refuses a workflow that can't be
    started here. ``unanswered`` has the operations of calls that had no reply, by what they were about.
    """

    parts: Parts
    storage: AsyncStorage
    runner: AsyncRunner
    reader: Reader
    pause: Callable[[float], Awaitable[None]]
    turn: Callable[[], AbstractAsyncContextManager[None]]
    admit: Callable[[type[WorkflowDefinition]], None]
    unanswered: dict[str, str]

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

    def token(self) -> str:
        """A name for an operation that nobody else has."""
        return self.parts.chance.token()


def blocking(
    parts: Parts, *, admit: Callable[[type[WorkflowDefinition]], None], turns: Turns, unanswered: dict[str, str]
) -> Means:
    """Means that never suspend, for :func:`~hephaestus_celery.coroutines.run_now`."""

    async def pause(seconds: float) -> None:
        parts.clock.sleep(seconds)

    return Means(
        parts=parts,
        storage=Immediate(parts.storage),
        runner=_ImmediateRunner(parts.runner),
        reader=parts.storage,
        pause=pause,
        turn=lambda: _Immediately(turns.turn()),
        admit=admit,
        unanswered=unanswered,
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
