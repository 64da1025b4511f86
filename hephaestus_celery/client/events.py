"""The durable event stream: an iterator over what happened in all runs, for a group of consumers."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Self

from hephaestus_celery.client.calls import AioCalls, RuntimeCalls
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.stream_reading import Acknowledge, Made, StreamReading
from hephaestus_celery.core.values.formatting import named
from hephaestus_celery.core.values.stream_event import StreamEvent, StreamGap
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import ConfigurationError, StorageError

_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")


def open_stream(means: Means, group: object, consumer: object, *, made: Made) -> StreamReading:
    """What reads the stream for a consumer of a group; without a name it gets one of its own."""
    if not means.settings.event_stream:
        raise ConfigurationError(
            "the event stream is switched off: set hephaestus_event_stream to about how many commits it shall keep (100000, say), "
            "in all processes"
        )
    return StreamReading(
        means,
        group=_name("group", group),
        consumer=_own_name(means) if consumer is None else _name("consumer", consumer),
        is_new=consumer is None,
        made=made,
    )


def _name(what: str, given: object) -> str:
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise ValueError(f"{what} must be a string of 1 to 200 characters without white space, not {named(given)}")
    return given


def _own_name(means: Means) -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{means.token()}"


class Events(Iterator[StreamEvent | StreamGap]):
    """Iterates over the events of the stream; blocks until there is more. Made by ``Hephaestus.events``.

    ``close()`` ends it, from any thread, within about a second; so does the end of a ``with`` block. A ``StorageError``, within
    seconds where the store is out of reach, does not end it: ask for the next event again. One thread iterates at a time.
    """

    def __init__(self, means: Means, group: str, consumer: str | None) -> None:
        self._reading = open_stream(means, group, consumer, made=_blocking)
        self._closed = False

    def __next__(self) -> StreamEvent | StreamGap:
        while not self._closed:
            found = run_now(self._reading.next())
            if found is not None:
                return found
        raise StopIteration

    def close(self) -> None:
        """End the iteration. What was not acknowledged is handed to other consumers of the group, after a minute."""
        if self._closed:
            return
        self._closed = True
        try:
            run_now(self._reading.leave())
        except StorageError:
            return  # a consumer that holds nothing is forgotten in an hour anyway

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class AioStreamEvent(StreamEvent):
    """An event of the stream on an event loop: its ``ack`` is awaited."""

    acknowledge_later: Acknowledge

    async def ack(self) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride] - it is awaited
        """Say that this event is done with; as :meth:`StreamEvent.ack`."""
        await self.acknowledge_later()


@dataclass(frozen=True, slots=True, kw_only=True)
class AioStreamGap(StreamGap):
    """A gap of the stream on an event loop."""

    async def ack(self) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride] - it is awaited
        """Do nothing; as :meth:`StreamGap.ack`."""


class AioEvents(AsyncIterator[AioStreamEvent | AioStreamGap]):
    """As :class:`Events`, on an event loop: ``async for event in hephaestus.aio.events("group"): ... await event.ack()``."""

    def __init__(self, means: Means, group: str, consumer: str | None) -> None:
        self._reading = open_stream(means, group, consumer, made=_on_loop)
        self._closed = False

    async def __anext__(self) -> AioStreamEvent | AioStreamGap:
        while not self._closed:
            match await self._reading.next():
                case AioStreamEvent() as event:
                    return event
                case StreamGap() as gap:
                    return AioStreamGap(missed=gap.missed, since=gap.since, until=gap.until)
                case _:
                    pass
        raise StopAsyncIteration

    async def close(self) -> None:
        """End the iteration. What was not acknowledged is handed to other consumers of the group, after a minute."""
        if self._closed:
            return
        self._closed = True
        with suppress(StorageError):  # a consumer that holds nothing is forgotten in an hour anyway
            await self._reading.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _on_loop(event: StreamEvent, acknowledge: Acknowledge) -> StreamEvent:
    told = {each.name: getattr(event, each.name) for each in fields(event)}
    return AioStreamEvent(**told, acknowledge_later=acknowledge)


def _blocking(event: StreamEvent, acknowledge: Acknowledge) -> StreamEvent:
    return replace(event, acknowledge=lambda: run_now(_as_coroutine(acknowledge)))


async def _as_coroutine(acknowledge: Acknowledge) -> None:
    await acknowledge()


class StreamCalls(RuntimeCalls):
    """The event stream, of ``Hephaestus``."""

    def events(self, group: str, consumer: str | None = None) -> Events:
        """Everything that happens in runs, from the durable event stream, for a group of consumers.

        Needs the setting ``hephaestus_event_stream``. Each event goes to one consumer of the group, and is handed out again
        until it is acknowledged (``event.ack()``): at least once each, those of a run in the order of its commits. What comes
        again may come later than what followed it; ``event.sequence`` tells. A new group begins with the oldest event that is
        kept. A ``consumer`` that comes back under its name first gets what it has not acknowledged; without a name it gets one
        of its own. What nobody has acknowledged a minute after it was handed out goes to another consumer. Where the cap has
        taken what the group had not read, a :class:`StreamGap` stands in its place. A group that is unused for 30 days is
        forgotten. ``ConfigurationError`` where the stream is switched off, ``ValueError`` for a bad name.
        """
        return Events(self._means(), group, consumer)


class AioStreamCalls(AioCalls):
    """The event stream, of ``Hephaestus.aio``."""

    def events(self, group: str, consumer: str | None = None) -> AioEvents:
        """Everything that happens in runs, to be read by ``async for``; as :meth:`Hephaestus.events`."""
        return AioEvents(self._means(), group, consumer)
