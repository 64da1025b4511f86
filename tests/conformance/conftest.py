"""Both storages behind one fixture: what holds for the port holds for each of them."""

from __future__ import annotations

import pytest

from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.testing.conformance.storage.fixtures import (
    forked_run,
    hasty,
    lossy,
    receiver,
    stand,
    stand_with,
    storage,
)

__all__ = ["forked_run", "hasty", "lossy", "receiver", "stand", "stand_with", "storage"]


@pytest.fixture(params=["memory", "redis"])
def make_storage(request):
    """``make_storage(lease=..., dispatch_timeout=...)``: an empty storage."""
    if request.param == "memory":
        yield MemoryStorage
        return
    url, namespace = request.getfixturevalue("redis_url"), request.getfixturevalue("namespace")
    request.getfixturevalue("redis_storage")  # cleans up
    made = []

    def make(**settings):
        made.append(RedisStorage(url, namespace=namespace, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
