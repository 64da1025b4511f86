"""Servers as others run them: with users, certificates, full memory, replicas."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hephaestus_celery.storage.redis.client import connect

GUIDE = Path(__file__).parents[3] / "docs" / "deploying.md"


@pytest.fixture(scope="session")
def guide():
    """The text of the guide that these tests stand behind."""
    return GUIDE.read_text(encoding="utf-8")


@pytest.fixture
def admin(private_server):
    """A client that may do everything, on a server of this module's own."""
    client = connect(private_server.url, timeout=timedelta(seconds=5), options={})
    yield client
    client.close()
