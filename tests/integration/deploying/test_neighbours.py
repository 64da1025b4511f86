"""Several applications on one server, each in a namespace of its own."""

from __future__ import annotations

import pytest

from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.store import RedisStorage


@pytest.fixture
def neighbours(redis_url, namespace, drive):
    """Two applications; the name of one begins with that of the other."""
    storages = [RedisStorage(redis_url, namespace=name) for name in (namespace, f"{namespace}-2")]
    yield [drive(storage) for storage in storages]
    for storage in storages:
        for key in storage._client.scan_iter(f"{storage.keys.namespace}:*", count=1000):
            storage._client.delete(key)
        storage.close()


def test_an_id_may_be_active_in_each(neighbours):
    runs = [stand.start(instance_id="order::a") for stand in neighbours]
    for stand, run in zip(neighbours, runs, strict=True):
        assert stand.storage.candidates("order::a", family=None).active == [run.id]


def test_neither_lists_or_loads_what_is_the_others(neighbours):
    mine, theirs = neighbours
    run = theirs.start(tags=("fast",))
    assert list(mine.storage.list_runs(Query())[0]) == []
    assert list(mine.storage.list_runs(Query(tag="fast"))[0]) == []
    assert mine.storage.load(run.id) is None
    assert list(mine.storage.history(run.id)) == []


def test_each_has_a_scheduler_that_does_its_own(neighbours):
    mine, theirs = neighbours
    run = theirs.start()
    run.wait_at("a", timeout=0)
    assert mine.tick(owner="mine").held
    assert list(mine.tick(owner="mine").entries) == []
    assert [entry.run_id for entry in theirs.entries()] == [run.id]
