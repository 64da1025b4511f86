"""Wake-ups: a channel on which scripts wake the scheduler when an entry is due sooner than it would look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis


class Wakeups:
    """Listens on the wake-up ``channels`` of all partitions, over one connection of its own."""

    def __init__(self, client: Redis, channels: Sequence[str]) -> None:
        self._client, self._channels = client, channels
        self._listener: Any = None

    def wait(self, *, timeout: float) -> bool:
        """Wait for a wake-up, at most ``timeout`` seconds; whether one may have come. Raises ``RedisError``."""
        if self._listener is None:
            self._listener = self._subscribed()
            return True  # a wake-up from before could not be heard
        heard = self._hears(timeout)
        while heard and self._hears(0):
            pass  # one look is enough for any number of wake-ups
        return heard

    def close(self) -> None:
        """Close the connection; the next wait opens another."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _subscribed(self) -> Any:
        listener: Any = self._client.pubsub(ignore_subscribe_messages=True)  # pyright: ignore[reportUnknownMemberType] - untyped in redis-py
        listener.subscribe(*self._channels)
        for _ in self._channels:
            listener.get_message(timeout=1.0)  # subscribed: from here on no wake-up is missed
        return listener

    def _hears(self, timeout: float) -> bool:
        return self._listener.get_message(timeout=timeout) is not None
