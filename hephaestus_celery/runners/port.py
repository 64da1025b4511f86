"""The port of a runner: what a client needs of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.message_dispatcher import Dispatcher


class Runner(Dispatcher, Protocol):
    """Executes steps, and carries their messages. A client makes its driver over it, and binds it to that driver."""

    def bind(self, driver: Callable[[], Driver]) -> None:
        """Take the driver of the runtime; it is made when it is first asked for. Called once, before all else."""
        ...

    def flush(self, run_id: str) -> None:
        """Return once the events of what this process has committed of a run are emitted."""
        ...

    def close(self) -> None:
        """Let go of everything; what is being executed in this process ends first."""
        ...
