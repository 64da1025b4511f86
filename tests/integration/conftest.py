"""Fixtures for what only a real server shows."""

from __future__ import annotations

import pytest


@pytest.fixture
def stand(redis_storage, drive):
    """A ``RedisStorage``, driven by hand."""
    return drive(redis_storage)


@pytest.fixture
def client(redis_storage):
    """A client on the storage's server."""
    return redis_storage._client
