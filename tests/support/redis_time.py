"""A ``RedisStorage`` that goes by a clock that a test gives: its scripts ask a key for the time, where they would ask ``TIME``."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from typing import Any

from given_time import GivenClock

from hephaestus_celery.storage.redis.store import RedisStorage

ASKED = "redis.call('TIME')"


@functools.lru_cache(maxsize=1000)
def with_given_time(source: str, key: str) -> tuple[str, str]:
    """A script that asks this key for the time, and its hash."""
    given = source.replace(ASKED, f"redis.call('HMGET', '{key}', 's', 'us')")
    return given, hashlib.sha1(given.encode()).hexdigest()


class GivenTimeRedisStorage(RedisStorage):
    """``clock`` is the server's too. The lifetimes of keys are not: what goes after a minute does so by the server's own."""

    def __init__(self, url: str, *, namespace: str, clock: GivenClock, **settings: Any) -> None:
        super().__init__(url, namespace=namespace, clock=clock, **settings)
        # One key for all storages of this process, one after the other, so that the server compiles their scripts once.
        self._given, self._key, self._written = clock, f"given-time:{os.getpid()}", -1
        scripts = self._calls.scripts
        for name, source in scripts.sources.items():
            scripts.sources[name], scripts._hashes[name] = with_given_time(source, self._key)
        timed = {name for name, source in scripts.sources.items() if self._key in source}
        assert len(timed) > 10, f"only these ask for the time in the way that is known here: {timed}"
        read = self._calls._read_clock
        self._calls._read_clock = lambda prefix: dataclasses.replace(read(prefix), time=self.now())
        run = self._calls._run
        self._calls._run = lambda *args, **fields: (self._write(), run(*args, **fields))[1]
        stamped = self._calls.stamped  # which begins a pipeline
        self._calls.stamped = lambda *args: (self._write(), stamped(*args))[1]

    def close(self) -> None:
        self._client.delete(self._key)
        super().close()

    def now(self) -> int:
        return self._given.time_ns() // 1000

    def _write(self) -> None:
        now = self.now()
        if now != self._written:
            self._client.hset(self._key, mapping={"s": now // 1_000_000, "us": now % 1_000_000})
            self._written = now
