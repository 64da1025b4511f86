"""Which runs a listing holds."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.listing import Filters, matches
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.summary import RunSummary

RUN = RunSummary(
    id="order::1", name="orders-v2", family="orders", version=2, tags=("a", "b"), status=Status.RUNNING, started_at=100
)
FITTING = {
    "statuses": frozenset({Status.RUNNING, Status.PENDING}),
    "name": "orders-v2",
    "version": 2,
    "family": "orders",
    "id": "order::1",
    "tag": "b",
    "started_after": 99,
    "started_before": 101,
}
OTHER = {
    "statuses": frozenset({Status.PENDING}),
    "name": "orders",
    "version": 1,
    "family": "order",
    "id": "order::",
    "tag": "c",
    "started_after": 100,
    "started_before": 100,
}


def test_without_filters_every_run_is_listed():
    assert matches(RUN, Filters())


@pytest.mark.parametrize("name", FITTING)
def test_a_run_is_listed_where_a_filter_fits(name):
    assert matches(RUN, Filters(**{name: FITTING[name]}))


@pytest.mark.parametrize("name", OTHER)
def test_one_filter_that_does_not_fit_leaves_a_run_out(name):
    assert not matches(RUN, Filters(**{**FITTING, name: OTHER[name]}))
