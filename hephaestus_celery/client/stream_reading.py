"""Reads the event stream for one consumer: in order, each event at least once, over all partitions, with its gaps."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hephaestus_celery.client.means import Means
from hephaestus_celery.core.execution.stream_groups import NOTHING_READ, before, place_of
from hephaestus_celery.core.values.stream_event import StreamEvent, StreamGap
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.codec import moment
from hephaestus_celery.storage.event_stream import TAKEOVER, Reading, StreamEntry
from hephaestus_celery.storage.told_events import events_of

BATCH = 100
"""Entries that one call reads."""
BLOCKED_SECONDS = 1.0
"""How long one call waits for something new; less in each of several partitions, or if the store has a shorter time limit."""
_LEAST_BLOCKED = 0.05
_NS = 1_000_000_000
_STALE_NS = TAKEOVER * 1000 // 3  # what was read so long ago is read again, so that it stays the consumer's

Acknowledge = Callable[[], Awaitable[None]]
Made = Callable[[StreamEvent, Acknowledge], StreamEvent]


@dataclass(slots=True, kw_only=True)
class _Partition:
    """How far one partition is read. ``own_after``: the consumer's own entries behind this id are read first, until none are left."""

    number: int
    own_after: str | None
    highest: str = NOTHING_READ
    newest: str = NOTHING_READ
    search_from: str = NOTHING_READ
    searched_at: int = 0


@dataclass(slots=True, kw_only=True)
class _Handing:
    """An entry of ``count`` events that was handed out, and the places of those that are not acknowledged yet."""

    partition: int
    id: str
    count: int
    left: set[int] = field(default_factory=set[int])


class StreamReading:
    """What a consumer of a group reads. After a ``StorageError`` it may be asked again, and goes on where it was.

    ``made`` makes of an event, and of the coroutine that acknowledges it, what the reader is given.
    """

    def __init__(self, means: Means, *, group: str, consumer: str, is_new: bool, made: Made) -> None:
        self._means, self._group, self._consumer, self._made = means, group, consumer, made
        first = None if is_new else NOTHING_READ
        self._partitions = [
            _Partition(number=number, own_after=first) for number in range(means.parts.storage.partitions)
        ]
        self._ready: deque[StreamEvent | StreamGap] = deque()
        self._entries: deque[tuple[_Partition, StreamEntry]] = deque()
        self._read_at = 0
        self._handed: dict[tuple[int, str], _Handing] = {}
        self._cut_off: list[tuple[int, str]] = []
        self._turn = 0

    async def next(self) -> StreamEvent | StreamGap | None:
        """The next event or gap; None if there is none by now, after a wait of at most :data:`BLOCKED_SECONDS`."""
        await self._finish_gap()
        while not self._ready:
            self._drop_stale()
            if not self._entries:
                await self._fill()
            if not self._entries:
                await self._wait()
                return None
            self._unpack()
        return self._ready.popleft()

    async def leave(self) -> None:
        """Leave the group: what was not acknowledged is handed to other consumers in time."""
        for partition in self._partitions:
            await self._means.storage.leave_events(partition.number, group=self._group, consumer=self._consumer)

    async def _fill(self) -> None:
        # Read some of each partition. In one partition they are in the order of commits; between partitions, in that of time.
        found: list[tuple[_Partition, StreamEntry]] = []
        self._read_at = self._means.parts.clock.monotonic_ns()
        for partition in self._partitions:
            try:
                entries = await self._read(partition)
            except StorageError:
                # The reply may be lost: then the entries are this consumer's, and it has not seen them.
                partition.own_after = partition.own_after or partition.highest
                self._entries.extend(found)
                raise
            found.extend((partition, entry) for entry in entries)
        found.sort(key=lambda each: place_of(each[1].id)[0])
        self._entries.extend(found)

    async def _read(self, partition: _Partition) -> Sequence[StreamEntry]:
        taken = await self._take_over(partition)
        if taken:
            return taken
        if partition.own_after is not None:
            own = self._known(partition, await self._ask(partition, after=partition.own_after))
            if own.entries:
                partition.own_after = own.entries[-1].id
                return self._not_handed(partition, own.entries)
            partition.own_after = None
        return self._known(partition, await self._ask(partition, after=None)).entries

    async def _ask(self, partition: _Partition, *, after: str | None) -> Reading:
        return await self._means.storage.read_events(
            partition.number, group=self._group, consumer=self._consumer, limit=BATCH, after=after
        )

    async def _take_over(self, partition: _Partition) -> Sequence[StreamEntry]:
        # Twice in the time after which an entry may be taken over, look for such entries.
        now = self._means.parts.clock.monotonic_ns()
        searched = partition.searched_at
        if searched and partition.search_from == NOTHING_READ and now - searched < TAKEOVER * 1000 // 2:
            return ()
        reading = await self._means.storage.take_over_events(
            partition.number,
            group=self._group,
            consumer=self._consumer,
            limit=BATCH,
            idle=TAKEOVER,
            start=partition.search_from,
        )
        partition.searched_at, partition.search_from = now or 1, reading.cursor or NOTHING_READ
        partition.newest = reading.newest
        return self._not_handed(partition, reading.entries)

    def _known(self, partition: _Partition, reading: Reading) -> Reading:
        partition.newest = reading.newest
        if reading.entries:
            partition.highest = max(partition.highest, reading.entries[-1].id, key=place_of)
        return reading

    def _not_handed(self, partition: _Partition, entries: Sequence[StreamEntry]) -> Sequence[StreamEntry]:
        # The reader has these already, and has not acknowledged them yet.
        return [entry for entry in entries if (partition.number, entry.id) not in self._handed]

    def _drop_stale(self) -> None:
        # Entries that wait here for long would be taken over. Reading them again keeps them, or shows that they are gone.
        if not self._entries or self._means.parts.clock.monotonic_ns() - self._read_at < _STALE_NS:
            return
        for partition in self._partitions:
            left = [entry.id for owner, entry in self._entries if owner is partition]
            if left:
                first = before(min(left, key=place_of), count=1)
                partition.own_after = min(partition.own_after or first, first, key=place_of)
        self._entries.clear()

    def _unpack(self) -> None:
        partition, entry = self._entries.popleft()
        if entry.told is None:
            self._ready.append(self._lost(partition, entry))
            return
        telling = entry.told.telling
        if entry.read_before is not None:
            since, number = place_of(entry.read_before)
            until, last = place_of(entry.id)
            missed = last - telling.count - number
            self._ready.append(StreamGap(missed=missed, since=_moment(since), until=_moment(until)))
        events = events_of(entry.told)
        handing = _Handing(partition=partition.number, id=entry.id, count=len(events))
        for place, event in enumerate(events):
            if place not in entry.acknowledged:
                handing.left.add(place)
                self._ready.append(self._made(event, self._acknowledging(handing, place)))
        if handing.left:
            self._handed[partition.number, entry.id] = handing
        else:
            self._cut_off.append((partition.number, entry.id))  # only newer code knows what it tells

    def _lost(self, partition: _Partition, entry: StreamEntry) -> StreamGap:
        # It was handed out, to this consumer or another, and the cap has taken it since. So have those behind it, perhaps.
        lost = [entry.id]
        while self._entries and self._entries[0][0] is partition and self._entries[0][1].told is None:
            lost.append(self._entries.popleft()[1].id)
        self._cut_off.extend((partition.number, place) for place in lost)
        times = [_moment(place_of(place)[0]) for place in lost]
        return StreamGap(missed=len(lost), since=times[0], until=times[-1])

    async def _finish_gap(self) -> None:
        # What the cap has taken is done with once the reader, who was told of it, asks for more.
        if self._ready or not self._cut_off:
            return
        for number in {number for number, _ in self._cut_off}:
            ids = [place for owner, place in self._cut_off if owner == number]
            await self._means.storage.acknowledge_events(number, group=self._group, ids=ids)
        self._cut_off.clear()

    def _acknowledging(self, handing: _Handing, place: int) -> Acknowledge:
        async def acknowledge() -> None:
            if place not in handing.left:
                return
            handing.left.discard(place)  # first: two threads may acknowledge the last two at the same time
            try:
                await self._done_with(handing)
            except StorageError:
                handing.left.add(place)
                raise

        return acknowledge

    async def _done_with(self, handing: _Handing) -> None:
        if handing.left:
            places = sorted(set(range(handing.count)) - handing.left)
            await self._means.storage.acknowledge_events_in_part(
                handing.partition, group=self._group, id=handing.id, places=places
            )
            return
        await self._means.storage.acknowledge_events(handing.partition, group=self._group, ids=[handing.id])
        self._handed.pop((handing.partition, handing.id), None)

    async def _wait(self) -> None:
        # In several partitions by turns: on a cluster, no command waits in all of them.
        partition = self._partitions[self._turn % len(self._partitions)]
        self._turn += 1
        await self._means.storage.await_events(
            partition.number,
            newest=partition.newest,
            timeout=max(BLOCKED_SECONDS / len(self._partitions), _LEAST_BLOCKED),
        )


def _moment(milliseconds: int) -> datetime:
    return moment(milliseconds * 1000)
