"""Calls of scripts and commands as coroutines: the port, and its form that blocks until the reply is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.connections import Command
from hephaestus_celery.storage.redis.keys import Keys
from hephaestus_celery.storage.redis.scripts import Scripts


class AsyncCalls(Protocol):
    """As :class:`~hephaestus_celery.storage.redis.calls.Calls`, for what is written once for all clients."""

    @property
    def keys(self) -> Keys:
        """The names of the keys."""
        ...

    @property
    def scripts(self) -> Scripts:
        """The scripts."""
        ...

    async def stamped(self, script: str, prefix: str, parameters: str) -> str: ...

    async def of_run(self, script: str, run_id: str, parameters: str, *data: str, lists: Sequence[str] = ()) -> Any: ...

    async def of_partition(self, script: str, prefix: str, parameters: str, *data: str) -> Any: ...

    async def command(self, *command: str | int, fits: Callable[[Any], bool]) -> Any: ...

    async def commands(self, commands: Sequence[Command], *, fits: Callable[[Any], bool]) -> list[Any]: ...


class BlockingCalls:
    """An ``AsyncCalls`` that never suspends: awaiting a call of it is making it."""

    def __init__(self, calls: Calls) -> None:
        self._calls, self.keys, self.scripts = calls, calls.keys, calls.scripts

    async def stamped(self, script: str, prefix: str, parameters: str) -> str:
        return self._calls.stamped(script, prefix, parameters)

    async def of_run(self, script: str, run_id: str, parameters: str, *data: str, lists: Sequence[str] = ()) -> Any:
        return self._calls.of_run(script, run_id, parameters, *data, lists=lists)

    async def of_partition(self, script: str, prefix: str, parameters: str, *data: str) -> Any:
        return self._calls.of_partition(script, prefix, parameters, *data)

    async def command(self, *command: str | int, fits: Callable[[Any], bool]) -> Any:
        return self._calls.command(*command, fits=fits)

    async def commands(self, commands: Sequence[Command], *, fits: Callable[[Any], bool]) -> list[Any]:
        return self._calls.commands(commands, fits=fits)
