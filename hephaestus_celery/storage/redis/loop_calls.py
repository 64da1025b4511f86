"""Calls of scripts and commands from event loops: as ``calls.py``, and what they wait for, they await."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hephaestus_celery.storage.redis.calls import (
    PUNCTUAL,
    TIMELESS,
    Calls,
    came_too_late,
    clock_commands,
    read_clock,
    unsent,
)
from hephaestus_celery.storage.redis.connections import Command
from hephaestus_celery.storage.redis.loops import Loops
from hephaestus_celery.storage.redis.parameters import with_time
from hephaestus_celery.storage.redis.scripts import is_values
from hephaestus_celery.storage.redis.steady_clock import Reading


class LoopCalls:
    """An ``AsyncCalls`` on the connections of the running event loop; it knows the time and the scripts as ``calls`` does."""

    def __init__(self, calls: Calls, loops: Loops) -> None:
        self._calls, self._loops, self.keys, self.scripts = calls, loops, calls.keys, calls.scripts

    async def stamped(self, script: str, prefix: str, parameters: str) -> str:
        if script in TIMELESS:
            return parameters

        async def read() -> Reading:
            return read_clock(await self._loops.here().connections.call_many(clock_commands(prefix), fits=is_values))

        with self._calls.reached(), unsent():
            now, offset = await self._calls.clock(prefix).now_by(read)
        return with_time(parameters, now=now, offset=offset, slack=self._calls.slack, punctual=script in PUNCTUAL)

    async def of_run(self, script: str, run_id: str, parameters: str, *data: str, lists: Sequence[str] = ()) -> Any:
        keys = self.keys.of_run(run_id)
        return await self._run(script, keys.prefix, [*keys.names, *lists], parameters, *data, run_id=run_id)

    async def of_partition(self, script: str, prefix: str, parameters: str, *data: str) -> Any:
        return await self._run(script, prefix, [f"{prefix}due"] * 5, parameters, *data)

    async def command(self, *command: str | int, fits: Callable[[Any], bool]) -> Any:
        with self._calls.reached():
            return await self._call(*command, fits=fits)

    async def commands(self, commands: Sequence[Command], *, fits: Callable[[Any], bool]) -> list[Any]:
        with self._calls.reached():
            return await self._loops.here().connections.call_many(commands, fits=fits)

    async def _run(
        self, script: str, prefix: str, keys: list[str], parameters: str, *data: str, run_id: str | None = None
    ) -> Any:
        scripts = self._calls.scripts
        with self._calls.reached():
            if script in TIMELESS:
                return await scripts.call_by(self._call, script, keys, [prefix, parameters, *data], run_id=run_id)
            steady = self._calls.clock(prefix)

            async def read() -> Reading:
                return read_clock(
                    await self._loops.here().connections.call_many(clock_commands(prefix), fits=is_values)
                )

            for _ in range(2):
                with unsent():
                    now, offset = await steady.now_by(read)
                arguments = with_time(
                    parameters, now=now, offset=offset, slack=self._calls.slack, punctual=script in PUNCTUAL
                )
                reply = await scripts.call_by(self._call, script, keys, [prefix, arguments, *data], run_id=run_id)
                if reply != b"late":
                    return reply
                await steady.look_by(read)  # nothing was done; the server's clock may have been set
        raise came_too_late()

    async def _call(self, *command: str | int, fits: Callable[[Any], bool]) -> Any:
        [reply] = await self._loops.here().connections.call_many([command], fits=fits)
        return reply
