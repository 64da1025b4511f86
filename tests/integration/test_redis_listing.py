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
