"""Redis and memory, and SQL, do the same at each random call: the scripts do what the pure rules decide.

Both go by one clock that the test gives, which goes on by odd microseconds. Compared are whole replies, errors included,
and all that is stored; what differs by design is named in ``twins.py``, with its reason. Each call may be made again, with the
same operation, at once or later.
"""

from __future__ import annotations

import random

import pytest
from given_time import GivenChance, GivenClock
from random_calls import RandomCalls, follow, start_of
from redis_time import GivenTimeRedisStorage
from sql_storage import SqlStorage
from twins import Twin

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.storage.redis import constants
from hephaestus_celery.storage.redis import wide_steps as settling

SMALL, FEW = 60, 35
"""Bytes and fields beyond which a claim brings a part of a run, where the test is about that."""


@pytest.fixture
def clock():
    return GivenClock(1_700_000_000_000_001_000)


@pytest.fixture
def memory(clock):
    return MemoryStorage(clock=clock, chance=GivenChance(1))


@pytest.fixture
def lists(redis_storage, namespace):
    """The names of lists that take messages; the last one is none."""
    names = [f"{namespace}:list:{name}" for name in ("one", "two", "broken")]
    redis_storage._client.set(names[-1], "no list")
    return names


@pytest.fixture(params=["whole", "slices", "parts"])
def kind(request, monkeypatch):
    """How Redis goes about it: as it does with few steps, as with very many, or as with much data and many steps."""
    if request.param == "slices":
        monkeypatch.setattr(settling, "AT_ONCE", 0)
        monkeypatch.setattr(settling, "STAGED", 3)
        monkeypatch.setattr(settling, "SLICE", 2)
    if request.param == "parts":
        monkeypatch.setitem(constants.CONSTANTS, "SMALL", SMALL)
        monkeypatch.setitem(constants.CONSTANTS, "FEW", FEW)
    return request.param


@pytest.fixture
def redis_twin(kind, redis_url, namespace, clock, lists):
    """``redis_twin(run)``: the same run in Redis."""
    storage = GivenTimeRedisStorage(redis_url, namespace=namespace, clock=clock, chance=GivenChance(2))
    small = SMALL if kind == "parts" else constants.CONSTANTS["SMALL"]
    yield lambda run: Twin(run.twin(storage), lists=lists[:-1], small=small)
    storage.close()


@pytest.mark.parametrize("seed", range(32))
def test_redis_does_what_memory_does(request, memory, redis_twin, kind, seed):
    drive, clock, lists = (request.getfixturevalue(name) for name in ("drive", "clock", "lists"))
    chance = random.Random(f"{seed} {kind}")
    run = start_of(drive, chance, memory, lists=lists)
    twins = [Twin(run), redis_twin(run)]
    follow(RandomCalls(chance, clock, twins, lists=lists, slices=kind == "slices", alone=kind == "parts"))


@pytest.mark.parametrize("seed", range(15))
def test_sql_does_what_memory_does(drive, clock, memory, tmp_path, seed):
    storage = SqlStorage(tmp_path / "runs.sqlite", clock=clock, chance=GivenChance(2))
    chance = random.Random(f"{seed} sql")
    run = start_of(drive, chance, memory)
    follow(RandomCalls(chance, clock, [Twin(run), Twin(run.twin(storage))]))
    storage.close()


class OfMemory(RandomCalls):
    """Calls of two storages in memory, which need not be compared: what is made, and what comes of it, is looked at."""

    def compare_stored(self, name):
        del name


def test_the_calls_reach_every_outcome(drive, clock):
    seen = set()
    for seed in range(200):
        chance = random.Random(f"{seed} whole")
        run = start_of(drive, chance, MemoryStorage(clock=clock, chance=GivenChance(1)))
        twin = Twin(run.twin(MemoryStorage(clock=clock, chance=GivenChance(2))))
        calls = OfMemory(chance, clock, [Twin(run), twin])
        follow(calls)
        seen |= set().union(*map(outcomes, calls.replies)) | {run.load().status.value}
        seen |= {"made of another"} if calls.run.id != run.id else set()
    assert seen >= {"completed", "failed", "cancelled", "applied", "conflict", "wanted", "discarded", "stale", "taken"}
    assert seen >= {"accepted", "kept", "repeated", "ambiguous", "not_waiting", "unknown_run", "several", "resumed"}
    assert seen >= {"foreign", "unknown_version", "newer_schema", "AlreadyRunningError", "InstanceNotFoundError"}
    assert seen >= {"paused", "changed", "unchanged", "ended", "late"}
    assert seen >= {"made of another", "RunStateError", "Untouched"}
    assert seen >= {kind.value for kind in Due if kind not in (Due.NOTHING, Due.SETTLE, Due.COPY, Due.UNDO)}


def outcomes(reply):
    """What a reply comes to, and those in it."""
    if isinstance(reply, list):
        return set().union(*map(outcomes, reply)) if reply else set()
    if not isinstance(reply, dict):
        return set()
    words = {reply[name] for name in ("verdict", "reason", "outcome", "kind") if isinstance(reply.get(name), str)}
    return words | {reply.get("type"), "resumed" if reply.get("resumed") else None} | outcomes(reply.get("entries"))
