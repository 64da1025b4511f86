"""Our storages behind one fixture, and one over SQL: what holds for the port holds for each of them."""

from __future__ import annotations

import functools
from datetime import timedelta

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


STORAGES = ("memory", "redis", "sql", "redis on a loop")
OF_WORKERS = {
    *("changed_definitions", "claims", "completion", "lanes", "leases", "lost_attempts", "lost_messages"),
    *("message_headers", "repeating", "retries", "seizing", "wide_steps"),
}
"""Parts of the suite about what workers and the scheduler call, which never do so from an event loop."""
PATIENCE = timedelta(seconds=60)
"""The time limit of a call, so that no test fails because the machine is slow."""


def pytest_generate_tests(metafunc):
    if "make_storage" in metafunc.fixturenames:
        part = metafunc.function.__module__.rpartition(".")[2]
        kinds = [kind for kind in STORAGES if part not in OF_WORKERS or "loop" not in kind]
        metafunc.parametrize("make_storage", kinds, indirect=True)


@pytest.fixture
def make_storage(request):
    """``make_storage()``: an empty storage."""
    name, _, looped = request.param.partition(" on a loop") if " " in request.param else (request.param, "", None)
    match name:
        case "memory":
            kind = MemoryStorage
        case "redis":
            url, namespace = request.getfixturevalue("redis_url"), request.getfixturevalue("namespace")
            request.getfixturevalue("redis_storage")  # cleans up
            kind = functools.partial(RedisStorage, url, namespace=namespace, timeout=PATIENCE)
        case _:
            kind = functools.partial(SqlStorage, request.getfixturevalue("tmp_path") / "runs.sqlite")
    made = []

    def make():
        made.append(kind() if looped is None else LoopedStorage(kind()))
        return made[-1]

    yield make
    for each in made:
        each.close()
