"""Reads the event stream for a person: from the oldest event that is kept, for no consumer group."""

from __future__ import annotations

from collections.abc import Iterator

from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.execution.stream_groups import NOTHING_READ, place_of
from hephaestus_celery.core.values.stream_event import StreamEvent, StreamGap
from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.storage.codec import moment
from hephaestus_celery.storage.event_stream import StreamEntry
from hephaestus_celery.storage.told_events import events_of

_BATCH = 200
_WAIT_SECONDS = 0.5


def browse(runtime: Hephaestus, *, follow: bool) -> Iterator[StreamEvent | StreamGap]:
    """The events that the stream keeps, and with ``follow`` those that come, for ever."""
    storage = runtime.storage
    read: dict[int, str | None] = dict.fromkeys(range(storage.partitions))
    if not (runtime.settings.event_stream or any(_read(runtime, number, None) for number in read)):
        raise ConfigurationError(
            "the event stream is switched off: set hephaestus_event_stream to about how many commits it shall keep"
        )
    while True:
        found = [(number, entry) for number, after in read.items() for entry in _read(runtime, number, after)]
        for number, entry in sorted(found, key=lambda each: place_of(each[1].id)[0]):
            yield from _told(entry, read[number])
            read[number] = entry.id
        if not found and not follow:
            return
        if not found:
            number = min(read, key=lambda each: place_of(read[each] or NOTHING_READ))
            storage.await_events(number, newest=read[number] or NOTHING_READ, timeout=_WAIT_SECONDS / len(read))


def _read(runtime: Hephaestus, partition: int, after: str | None) -> list[StreamEntry]:
    return list(runtime.storage.browse_events(partition, after=after, limit=_BATCH).entries)


def _told(entry: StreamEntry, before: str | None) -> Iterator[StreamEvent | StreamGap]:
    if entry.told is None:
        return
    until, last = place_of(entry.id)
    since, read = place_of(before or NOTHING_READ)
    missed = last - entry.told.telling.count - read
    if before is not None and missed > 0:
        yield StreamGap(missed=missed, since=moment(since * 1000), until=moment(until * 1000))
    yield from events_of(entry.told)
