"""The event streams in Redis, one for each partition: reads for consumers, and acknowledgements, all as coroutines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hephaestus_celery.storage.event_stream import Reading, StreamEntry, read_told
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.parameters import as_parameters
from hephaestus_celery.storage.redis.scripts import is_number

_MILLISECOND = 1000


class EventStreams:
    """Reads the event streams of one storage."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def read(self, partition: int, *, group: str, consumer: str, limit: int, after: str | None = None) -> Reading:
        """Entries for a consumer: new ones, or its own behind ``after`` that it has not acknowledged."""
        return await self._read(partition, as_parameters(group=group, consumer=consumer, limit=limit, after=after))

    async def take_over(
        self, partition: int, *, group: str, consumer: str, limit: int, idle: int, start: str
    ) -> Reading:
        """Entries that nobody has acknowledged for ``idle`` microseconds, from the id ``start`` on."""
        milliseconds = idle // _MILLISECOND
        return await self._read(
            partition, as_parameters(group=group, consumer=consumer, limit=limit, idle=milliseconds, **{"from": start})
        )

    async def browse(self, partition: int, *, after: str | None, limit: int) -> Reading:
        """Entries behind ``after``, for nobody: no group learns of it."""
        key = self._key(partition)
        start = "-" if after is None else f"({after}"
        found, last = await self._calls.commands(
            [("XRANGE", key, start, "+", "COUNT", limit), ("XREVRANGE", key, "+", "-", "COUNT", 1)], fits=_is_entries
        )
        entries = [_entry(place, fields[1], fields[3]) for place, fields in found]
        return Reading(entries=entries, newest=last[0][0].decode() if last else "0-0")

    async def acknowledge(self, partition: int, *, group: str, ids: Sequence[str]) -> None:
        """These entries are done with."""
        fields = [f"{group} {place}" for place in ids]
        key = self._key(partition)
        await self._calls.commands(
            [("XACK", key, group, *ids), ("HDEL", f"{key}:gaps", *fields), ("HDEL", f"{key}:acked", *fields)],
            fits=is_number,
        )

    async def acknowledge_in_part(self, partition: int, *, group: str, id: str, places: Sequence[int]) -> None:
        """These events of an entry are done with."""
        key, value = f"{self._key(partition)}:acked", ",".join(map(str, places))
        await self._calls.command("HSET", key, f"{group} {id}", value, fits=is_number)

    async def leave(self, partition: int, *, group: str, consumer: str) -> None:
        """The consumer is no more, if it holds nothing."""
        prefix = self._calls.keys.partition(partition)
        await self._calls.of_partition("leave", prefix, as_parameters(group=group, consumer=consumer))

    async def await_new(self, partition: int, *, newest: str, timeout: float) -> bool:
        """Wait for an entry behind ``newest``, at most ``timeout`` seconds; whether there is one."""
        milliseconds = max(1, int(timeout * 1000))
        reply = await self._calls.command(
            *("XREAD", "BLOCK", milliseconds, "COUNT", 1, "STREAMS", self._key(partition), newest), fits=_is_streams
        )
        return bool(reply)

    async def _read(self, partition: int, parameters: str) -> Reading:
        prefix = self._calls.keys.partition(partition)
        newest, cursor, *parts = await self._calls.of_partition("events", prefix, parameters)
        rows = zip(*(iter(parts),) * 5, strict=True)
        entries = [_entry(*row) for row in rows]
        return Reading(entries=entries, newest=newest.decode(), cursor=cursor.decode() or None)

    def _key(self, partition: int) -> str:
        return f"{self._calls.keys.partition(partition)}events"


def _entry(id: bytes, told: bytes, detail: bytes, before: bytes = b"", acked: bytes = b"") -> StreamEntry:
    return StreamEntry(
        id=id.decode(),
        told=read_told(told.decode(), detail.decode()) if told else None,
        read_before=before.decode() or None,
        acknowledged=frozenset(map(int, acked.split(b","))) if acked else frozenset(),
    )


def _is_entries(reply: Any) -> bool:
    return type(reply) is list


def _is_streams(reply: Any) -> bool:
    return reply is None or type(reply) in (list, dict)
