"""Both storages behind one fixture: what holds for the port holds for each of them."""

from __future__ import annotations

import pytest

from hephaestus_celery.storage.memory import MemoryStorage


@pytest.fixture(params=["memory", "redis"])
def storage(request):
    """An empty storage."""
    return MemoryStorage() if request.param == "memory" else request.getfixturevalue("redis_storage")


@pytest.fixture
def stand(storage, drive):
    """The storage, driven by hand."""
    return drive(storage)
