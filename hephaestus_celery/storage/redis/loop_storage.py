"""The Redis store for event loops: what clients ask of it, on redis-py's asyncio client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from hephaestus_celery.clock import Chance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.client_calls import ClientCalls
from hephaestus_celery.storage.redis.loop_calls import LoopCalls
from hephaestus_celery.storage.redis.loop_connections import LoopConnections
from hephaestus_celery.storage.redis.loop_waits import LoopWaits
from hephaestus_celery.storage.redis.loops import Loops, OfLoop
from hephaestus_celery.storage.redis.scripts import is_values

MOST = 10
"""The most connections for calls of one event loop, unless ``max_connections`` is smaller. One thread needs no more."""


class LoopStorage(ClientCalls):
    """An ``AsyncStorage`` whose calls never block the event loop that they run on; each loop has connections of its own."""

    def __init__(self, calls: Calls, *, client: Callable[[], Redis], most: int, timeout: float, chance: Chance) -> None:
        self._blocking, self._client, self._most, self._timeout = calls, client, min(most, MOST), timeout
        self._loops = Loops(self._make)
        super().__init__(LoopCalls(calls, self._loops), chance=chance)

    async def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        with self._blocking.reached():
            return await self._loops.here().waits.wait(run_id, timeout=timeout)

    async def await_events(self, partition: int, *, newest: str, timeout: float) -> bool:
        # Half the time limit of a command, as of blocking calls.
        return await super().await_events(partition, newest=newest, timeout=min(timeout, self._timeout / 2))

    async def close(self) -> None:
        await self._loops.close()

    def _make(self) -> OfLoop:
        connections = LoopConnections(self._client(), most=self._most, timeout=self._timeout)
        keys = self._blocking.keys

        async def ended(run_ids: Sequence[str]) -> list[bool]:
            found = await connections.call_many(
                [("HMGET", keys.of_run(run_id).run, "st") for run_id in run_ids], fits=is_values
            )
            return [status is None or Status(status.decode()).final for [status] in found]

        async def connect() -> Any:
            # In this protocol, published messages come like any other reply. It may be silent for as long as it likes.
            connection = await connections.connect(protocol=2)
            connection.socket_timeout = None
            return connection

        waits = LoopWaits(ended=ended, connect=connect, channel=lambda run_id: keys.of_run(run_id).finished)
        return OfLoop(connections=connections, waits=waits)
