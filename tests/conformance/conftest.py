"""Our storages behind one fixture, and one over SQL: what holds for the port holds for each of them."""

from __future__ import annotations

import functools

import pytest
from looped import LoopedStorage
from sql_storage import SqlStorage

from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.testing.conformance.storage.fixtures import (
    forked_run,
    hasty,
    lossy,
    pausing,
    receiver,
    stand,
    stand_with,
    storage,
)

__all__ = ["forked_run", "hasty", "lossy", "pausing", "receiver", "stand", "stand_with", "storage"]


@pytest.fixture(params=["memory", "redis", "sql", "redis on a loop"])
def make_storage(request):
    """``make_storage()``: an empty storage."""
    name, _, looped = request.param.partition(" on a loop") if " " in request.param else (request.param, "", None)
    match name:
        case "memory":
            kind = MemoryStorage
        case "redis":
            url, namespace = request.getfixturevalue("redis_url"), request.getfixturevalue("namespace")
            request.getfixturevalue("redis_storage")  # cleans up
            kind = functools.partial(RedisStorage, url, namespace=namespace)
        case _:
            kind = functools.partial(SqlStorage, request.getfixturevalue("tmp_path") / "runs.sqlite")
    made = []

    def make():
        made.append(kind() if looped is None else LoopedStorage(kind()))
        return made[-1]

    yield make
    for each in made:
        each.close()
