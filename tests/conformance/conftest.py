"""Both storages behind one fixture: what holds for the port holds for each of them."""

from __future__ import annotations

import pytest

from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.storage.redis.store import RedisStorage


@pytest.fixture(params=["memory", "redis"])
def storage(request):
    """An empty storage."""
    return MemoryStorage() if request.param == "memory" else request.getfixturevalue("redis_storage")


@pytest.fixture
def stand(storage, drive):
    """The storage, driven by hand."""
    return drive(storage)


@pytest.fixture(params=["memory", "redis"])
def stand_with(request, drive):
    """``stand_with(lease=..., dispatch_timeout=...)``: an empty storage in which things come due soon, driven by hand."""
    if request.param == "memory":
        yield lambda **settings: drive(MemoryStorage(**settings))
        return
    url, namespace = request.getfixturevalue("redis_url"), request.getfixturevalue("namespace")
    request.getfixturevalue("redis_storage")  # cleans up
    made = []

    def make(**settings):
        made.append(RedisStorage(url, namespace=namespace, **settings))
        return drive(made[-1])

    yield make
    for storage in made:
        storage.close()
