"""A ``RedisStorage`` that goes by a clock that a test gives: its scripts ask a key for the time, where they would ask ``TIME``."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from given_time import GivenClock

from hephaestus_celery.storage.redis.store import RedisStorage

ASKED = "redis.call('TIME')"


class GivenTimeRedisStorage(RedisStorage):
    """``clock`` is the server's too. The lifetimes of keys are not: what goes after a minute does so by the server's own."""

    def __init__(self, url: str, *, namespace: str, clock: GivenClock, **settings: Any) -> None:
        super().__init__(url, namespace=namespace, clock=clock, **settings)
        self._given, self._key, self._written = clock, f"{namespace}:given-time", -1
        scripts = self._calls.scripts
        timed = {name for name, source in scripts.sources.items() if ASKED in source}
        assert len(timed) > 10, f"only these ask for the time in the way that is known here: {timed}"
        for name, source in scripts.sources.items():
            given = source.replace(ASKED, f"redis.call('HMGET', '{self._key}', 's', 'us')")
            scripts.sources[name] = given
            scripts._hashes[name] = hashlib.sha1(given.encode()).hexdigest()
        read = self._calls._read_clock
        self._calls._read_clock = lambda prefix: dataclasses.replace(read(prefix), time=self.now())
        run = self._calls._run
        self._calls._run = lambda *args, **fields: (self._write(), run(*args, **fields))[1]
        stamped = self._calls.stamped  # which begins a pipeline
        self._calls.stamped = lambda *args: (self._write(), stamped(*args))[1]

    def now(self) -> int:
        return self._given.time_ns() // 1000

    def _write(self) -> None:
        now = self.now()
        if now != self._written:
            self._client.hset(self._key, mapping={"s": now // 1_000_000, "us": now % 1_000_000})
            self._written = now
