"""The port of a runner to a client: start, flush and close, and who executes the steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.fleet import Fleet
from hephaestus_celery.runners.message_dispatcher import Dispatcher
from hephaestus_celery.runners.messages import Message


class AsyncRunner(Protocol):
    """What clients ask of a runner, as coroutines; see :class:`Runner` and :class:`.Dispatcher`."""

    async def dispatch(self, messages: Sequence[Message]) -> None: ...

    async def revoke(self, task_ids: Sequence[str]) -> None: ...

    async def interrupt(self, holders: Mapping[str, str]) -> Collection[str]: ...

    async def flush(self, run_id: str) -> None: ...


class Runner(Dispatcher, Protocol):
    """Executes steps, and sends their messages. A client makes a driver with it, and binds the runner to that driver."""

    def bind(self, driver: Callable[[], Driver]) -> None:
        """Take the driver of the runtime, a callable that makes it when it is first needed. Called once, before all else."""
        ...

    @property
    def fleet(self) -> Fleet:
        """Who executes the steps, and what waits for them."""
        ...

    def aio(self) -> AsyncRunner:
        """The same runner for event loops: no call of it blocks the loop that it runs on."""
        ...

    def flush(self, run_id: str) -> None:
        """Return once the events of what this process has committed of a run are emitted."""
        ...

    def close(self) -> None:
        """Close everything; steps that are being executed in this process end first."""
        ...
