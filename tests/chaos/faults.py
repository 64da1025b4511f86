"""The faults: each strikes an arena once and brings back what it took away, so that the next may strike.

They know nothing of workflows: the same faults strike plain Celery.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from arena import LEASE, Arena
from redis.exceptions import RedisError

FREEZE_SECONDS = 1.5 * LEASE
OUTAGE_SECONDS = (0.5, 3.0)  # around the two seconds after which a command to the store is given up
MEDDLING_SECONDS = 0.6
SHUTDOWN_SECONDS = 30


class Fault:
    """Strikes once per ``inject``; gives a word on what it hit.

    ``silences``: a process may die, or a reply of the server get lost, before what was committed is emitted. Then events
    may be missing, their numbers with them; with any other fault all of them are there.
    """

    name: ClassVar[str]
    silences: ClassVar[bool] = True
    synced: ClassVar[bool] = False  # whether the server has to sync each write
    pauses: ClassVar[bool] = False  # whether somebody pauses runs and workflows meanwhile, and lets them go on

    def inject(self, arena: Arena, chance: random.Random) -> str:
        raise NotImplementedError


class KilledChild(Fault):
    """SIGKILL to a process of a worker's pool."""

    name = "pool process killed"

    def inject(self, arena: Arena, chance: random.Random) -> str:
        children = chance.choice(arena.live).children()
        if not children:
            return "no child"
        victim = chance.choice(children)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return str(victim)


class KilledWorker(Fault):
    """SIGKILL to a worker and its pool; another takes its place."""

    name = "worker killed"

    def inject(self, arena: Arena, chance: random.Random) -> str:
        victim = chance.choice(arena.live)
        victim.kill()
        arena.replace(victim)
        return victim.name


class FrozenWorker(Fault):
    """SIGSTOP to a worker and its pool for longer than its lease, then SIGCONT."""

    name = "worker frozen"
    silences = False

    def inject(self, arena: Arena, chance: random.Random) -> str:
        victim = chance.choice(arena.live)
        victim.signal_all(signal.SIGSTOP)
        time.sleep(FREEZE_SECONDS)
        victim.signal_all(signal.SIGCONT)
        return victim.name


class WarmShutdown(Fault):
    """SIGTERM, as a deployment does; another worker takes its place."""

    name = "warm shutdown"
    silences = False

    def inject(self, arena: Arena, chance: random.Random) -> str:
        return _shut_down(arena, chance, signal.SIGTERM)


class ColdShutdown(Fault):
    """SIGQUIT: tasks are thrown away in the middle; another worker takes its place."""

    name = "cold shutdown"

    def inject(self, arena: Arena, chance: random.Random) -> str:
        return _shut_down(arena, chance, signal.SIGQUIT)


class DroppedMessages(Fault):
    """Messages are taken from the queue and lost."""

    name = "messages dropped"
    silences = False

    def inject(self, arena: Arena, chance: random.Random) -> str:
        return f"{_meddle(arena, copies=0)} dropped"


class DoubledMessages(Fault):
    """Messages are delivered three times."""

    name = "messages doubled"
    silences = False

    def inject(self, arena: Arena, chance: random.Random) -> str:
        return f"{_meddle(arena, copies=3)} tripled"


class FrozenServer(Fault):
    """SIGSTOP to the server for some seconds: commands hang, connections stay."""

    name = "server frozen"

    def inject(self, arena: Arena, chance: random.Random) -> str:
        pid = arena.server.pid
        seconds = chance.uniform(*OUTAGE_SECONDS)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
        return f"{seconds:.1f} s"


class StoppedServer(Fault):
    """The server is stopped and comes back after some seconds: connections are refused."""

    name = "server stopped"

    def inject(self, arena: Arena, chance: random.Random) -> str:
        seconds = chance.uniform(*OUTAGE_SECONDS)
        arena.server.stop()
        time.sleep(seconds)
        arena.server.start()
        return f"{seconds:.1f} s"


class KilledServer(Fault):
    """SIGKILL to the server, which syncs each write to its append-only file; it comes back at once."""

    name = "server killed"
    synced = True

    def inject(self, arena: Arena, chance: random.Random) -> str:
        arena.server.kill()
        arena.server.start()
        arena.keep_every_write()
        return "killed"


class CutConnections(Fault):
    """Every connection to the server is closed by it."""

    name = "connections cut"
    silences = False

    def inject(self, arena: Arena, chance: random.Random) -> str:
        cut = [arena.when_reachable("CLIENT KILL", "TYPE", kind, "SKIPME", "yes") for kind in ("normal", "pubsub")]
        return f"{sum(cut)} cut"


class ForgottenScripts(Fault):
    """SCRIPT FLUSH: the server forgets the scripts that it was given."""

    name = "scripts flushed"
    silences = False

    def inject(self, arena: Arena, chance: random.Random) -> str:
        arena.when_reachable("SCRIPT FLUSH")
        return "flushed"


PROCESSES: tuple[Fault, ...] = (KilledChild(), KilledWorker(), FrozenWorker(), WarmShutdown(), ColdShutdown())
SERVICES: tuple[Fault, ...] = (
    DroppedMessages(),
    DoubledMessages(),
    FrozenServer(),
    StoppedServer(),
    KilledServer(),
    CutConnections(),
    ForgottenScripts(),
)


class Everything(Fault):
    """Any of the others; half of the time two at once, one of the workers and one of what they work with."""

    name = "all together"
    synced = True
    pauses = True

    def inject(self, arena: Arena, chance: random.Random) -> str:
        faults = [chance.choice(PROCESSES), chance.choice(SERVICES)]
        if chance.random() < 0.5:
            faults = [chance.choice(faults)]
        seeded = [(fault, random.Random(chance.random())) for fault in faults]
        with ThreadPoolExecutor(len(faults)) as pool:
            said = list(pool.map(lambda strike: f"{strike[0].name}: {strike[0].inject(arena, strike[1])}", seeded))
        arena.keep_every_write()  # a server that was started anew has forgotten it
        return " and ".join(said)


FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in (*PROCESSES, *SERVICES, Everything())}


def _shut_down(arena: Arena, chance: random.Random, number: signal.Signals) -> str:
    victim = chance.choice(arena.live)
    victim.process.send_signal(number)
    try:
        victim.process.wait(SHUTDOWN_SECONDS)
    except subprocess.TimeoutExpired:
        victim.kill()
        arena.replace(victim)
        return f"{victim.name}, killed after {SHUTDOWN_SECONDS} s"
    arena.replace(victim)
    return victim.name


def _meddle(arena: Arena, *, copies: int) -> int:
    # As a consumer among the workers: a message that a worker waits for never lies in the list.
    end = time.monotonic() + MEDDLING_SECONDS
    met = 0
    while time.monotonic() < end:
        try:
            popped = arena.client.brpop([arena.namespace], timeout=0.05)
            if popped is not None:
                met += 1
                for _ in range(copies):
                    arena.client.lpush(arena.namespace, popped[1])
                if copies:
                    time.sleep(0.02)  # or the same message would be met again at once
        except RedisError:
            time.sleep(0.05)
    return met
