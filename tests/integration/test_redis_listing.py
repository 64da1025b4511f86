"""Listings that one script can't finish."""

from __future__ import annotations

import pytest

from hephaestus_celery.storage.queries import Query
from hephaestus_celery.testing.conformance.storage.listing import pages


@pytest.mark.parametrize("matching", [1, 2, 3])
def test_a_page_that_needs_many_looks_ends_like_any_other(redis_storage, drive, monkeypatch, matching):
    monkeypatch.setattr("hephaestus_celery.storage.redis.listing._BUDGET", 100)
    stand = drive(redis_storage)
    runs = [stand.start(instance_id=f"order::{number}", version=2 if number < matching else 1) for number in range(350)]
    wanted = [run.id for run in reversed(runs[:matching])]
    assert pages(redis_storage, 2, version=2) == [wanted[start : start + 2] for start in range(0, matching, 2)]
    assert redis_storage.list_runs(Query(version=3)) == ([], None)


def test_a_wait_that_an_older_version_began_is_found_after_the_daily_look_at_its_run(redis_storage, drive):
    storage, stand = redis_storage, drive(redis_storage)
    run = stand.start()
    run.wait_at("a", accepts={"paid": "ok"})
    prefix = storage.keys.of_run(run.id).prefix
    for key in ("index:waits", "index:waiting:paid", f"waiting:{run.id}"):
        assert storage._client.delete(f"{prefix}{key}") == 1
    assert storage.count_runs(Query(waiting_for="paid")) == 0
    [watch] = [entry for entry in storage._client.zrange(f"{prefix}due", 0, -1) if b"||" in entry]
    storage._client.zadd(f"{prefix}due", {watch: 1})
    stand.tick()
    assert storage.count_runs(Query(waiting_for="paid")) == 1
    assert storage.count_runs(Query(waiting_since_before=storage.now())) == 1
