"""How long single scripts and commands take the server, by its own slow log, beside a yardstick of fixed work."""

from __future__ import annotations

import contextlib
import hashlib
import statistics
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from redis import Redis

from hephaestus_celery.storage.redis.scripts import Scripts

LIMIT_MICROSECONDS = 5_000
YARDSTICK_MICROSECONDS = 2_800
"""What the yardstick takes on the machine for which the limit was set; a slower one has so much more time."""
_YARDSTICK = """
for number = 1, 1000 do
  redis.call('HSET', KEYS[1], 'field', cjson.encode({ number = number, kind = 'yardstick' }))
  cjson.decode(redis.call('HGET', KEYS[1], 'field'))
end
redis.call('DEL', KEYS[1])
"""
_ROUNDS = 5
_ENTRIES = 200_000
_OFTEN = 3
NOTED_MICROSECONDS = 100
"""What takes less is not noted: the commands within scripts would be most of it."""


@dataclass(slots=True, kw_only=True)
class Longest:
    """Durations of the calls of each script or command that were noted, in microseconds; ``yardstick`` is the best of a few rounds."""

    calls: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    yardstick: int = 0

    @property
    def limit(self) -> float:
        """What a call may take on this machine."""
        return LIMIT_MICROSECONDS * max(1.0, self.yardstick / YARDSTICK_MICROSECONDS)

    def slowest(self) -> tuple[str, Sequence[int]]:
        """The script or command with the longest call, and all of its calls, the shortest first."""
        name, durations = max(self.calls.items(), key=lambda item: max(item[1]))
        return name, sorted(durations)

    def usual(self) -> float:
        """The median of the calls of the script whose median is the longest, of those with three calls or more.

        A single call may have been held up by whatever else the machine did: of a command that is never slow, that call
        alone is in the slow log.
        """
        often = [durations for durations in self.calls.values() if len(durations) >= _OFTEN]
        return max((statistics.median(durations) for durations in often), default=0)


@contextlib.contextmanager
def measured(server: Redis) -> Generator[Longest]:
    """What the server does while the block runs."""
    found = Longest()
    sources = Scripts().sources
    names = {hashlib.sha1(source.encode()).hexdigest(): f"{name}.lua" for name, source in sources.items()}
    before = server.config_get("slowlog-*")
    server.config_set("slowlog-max-len", _ENTRIES)
    server.slowlog_reset()
    server.config_set("slowlog-log-slower-than", NOTED_MICROSECONDS)
    try:
        yield found
    finally:
        server.config_set("slowlog-log-slower-than", -1)
        entries = server.slowlog_get(_ENTRIES)
        server.slowlog_reset()
        for name, value in before.items():
            server.config_set(name, value)
    for entry in entries:
        words = entry["command"].split()
        name = words[0].decode()
        if name not in ("CONFIG", "SLOWLOG"):
            found.calls.setdefault(names.get(words[1].decode(), name) if name == "EVALSHA" else name, []).append(
                entry["duration"]
            )
    found.yardstick = _yardstick(server)


def _yardstick(server: Redis) -> int:
    server.config_set("slowlog-log-slower-than", 0)
    for _ in range(_ROUNDS):
        server.eval(_YARDSTICK, 1, "yardstick")
    server.config_set("slowlog-log-slower-than", 10_000)
    durations = [entry["duration"] for entry in server.slowlog_get(100) if entry["command"].startswith(b"EVAL ")]
    server.slowlog_reset()
    return min(durations)
