"""Every command that a server is given while a block runs, as MONITOR shows them."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from benchmarks.settings import NAMESPACE, QUEUE
from hephaestus_celery.storage.redis.scripts import Scripts

_BETWEEN = frozenset({"tick", "renew", "report", "reports"})
"""Scripts that belong to no step in particular: they come with time."""
_PREFIX = f"{NAMESPACE}:{{"
_MANY, _SLOW = 100_000, 10_000
"""Entries of the server's log of slow calls; and from how many microseconds on it notes one by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command; ``within`` names our script if one gave it, ``script`` the script that it calls."""

    words: Sequence[str]
    script: str | None = None
    within: str | None = None

    @property
    def name(self) -> str:
        """In lower case."""
        return self.words[0].lower()

    @property
    def in_store(self) -> bool:
        """Whether a client gave it for a key of the store; scripts have their keys after their number."""
        return self.within is None and any(word.startswith(_PREFIX) for word in self.words[1:4])

    @property
    def reads_clock(self) -> bool:
        """Whether a process looks how the clock of what is due stands, as each does now and then."""
        return self.name == "hmget" and self.words[1].endswith("}:seat")


@dataclass(slots=True)
class Recording:
    """What was recorded, once the block has ended."""

    commands: list[Command] = field(default_factory=list)

    def messages(self) -> int:
        """Messages that were put into the queue, by whatever command."""
        return sum(command.name == "lpush" and command.words[1] == QUEUE for command in self.commands)

    def store_calls(self) -> int:
        """Round trips to the store that steps have made."""
        return sum(
            command.in_store and not command.reads_clock and command.script not in (_BETWEEN | {"create"})
            for command in self.commands
        )

    def broker_commands(self) -> int:
        """What clients gave for the broker, waiting for messages included."""
        return sum(not command.in_store and command.within is None for command in self.commands)

    def all_commands(self) -> int:
        """What clients gave."""
        return sum(command.within is None and command.script not in _BETWEEN for command in self.commands)

    def scripted(self) -> int:
        """What scripts of the store gave."""
        return sum(command.within is not None and command.within not in _BETWEEN for command in self.commands)

    def by_script(self) -> Mapping[str, Counter[str]]:
        """What each script gave, by its name; ``"clients"`` for what none did."""
        found: dict[str, Counter[str]] = {}
        for command in self.commands:
            found.setdefault(command.within or "clients", Counter())[command.script or command.name] += 1
        return found


@contextmanager
def record(server: Redis) -> Generator[Recording]:
    """Record what the server is given in the block; read afterwards, so that the block is hardly slowed down."""
    recording = Recording()
    token = secrets.token_hex(8)
    with server.monitor() as monitor:
        yield recording
        server.echo(token)
        recording.commands.extend(_read(monitor, token))


def script_microseconds(server: Redis, play: Callable[[], object]) -> Mapping[str, Sequence[int]]:
    """How long each call of each of our scripts took in the server while ``play`` ran."""
    names = _script_names()
    server.config_set("slowlog-max-len", _MANY)
    server.config_set("slowlog-log-slower-than", 0)
    try:
        server.slowlog_reset()
        play()
        calls: Any = server.slowlog_get(_MANY)
    finally:
        server.config_set("slowlog-log-slower-than", _SLOW)
    found: dict[str, list[int]] = {}
    for call in calls:
        words = call["command"].split(b" ")
        if words[0].lower() == b"evalsha":
            found.setdefault(names.get(words[1].decode(), "unknown"), []).append(call["duration"])
    return found


def _script_names() -> Mapping[str, str]:
    return {hashlib.sha1(source.encode()).hexdigest(): name for name, source in Scripts().sources.items()}


def _read(monitor: Any, token: str) -> Generator[Command]:
    names = _script_names()
    current = "unknown"
    while True:
        seen = monitor.next_command()
        words = _words(seen["command"])
        if words[-1] == token:
            return
        if seen["client_type"] == "lua":
            yield Command(words=words, within=current)
            continue
        called = names.get(words[1], "unknown") if words[0].lower() == "evalsha" else None
        current = called or current
        yield Command(words=words, script=called)


def _words(text: str) -> list[str]:
    # redis-py gives the words of a line joined by blanks; those that matter here hold none.
    return text.split(" ")
