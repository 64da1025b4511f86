"""Which run a reference by an instance id means."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.resolve import Candidates, RunReference, resolve

VERSIONS = {"one": 1, "two": 2, "three": 2}


def meant(*active, newest="newest", **reference):
    found = resolve(
        RunReference(id="order::a", **reference), Candidates(active=active, newest=newest, versions=VERSIONS)
    )
    return found.run_id or list(found.several) or None


@pytest.mark.parametrize(
    ("active", "reference", "expected"),
    [
        ((), {}, "newest"),
        (("one",), {}, "one"),
        (("one", "two"), {}, ["one", "two"]),
        (("one", "two"), {"version": 2}, "two"),
        (("one",), {"version": 2}, "one"),
        (("one", "two"), {"version": 3}, "newest"),
        (("one", "two", "three"), {"version": 2}, ["two", "three"]),
    ],
)
def test_the_active_run_is_meant_else_the_newest(active, reference, expected):
    assert meant(*active, **reference) == expected


def test_where_there_is_no_run_none_is_meant():
    assert meant(newest=None) is None


@pytest.mark.parametrize(
    ("reference", "admitted"),
    [
        ({}, True),
        ({"family": "shop.Order"}, True),
        ({"family": "shop.Other"}, False),
        ({"version": 2}, True),
        ({"version": 2, "exact": True}, False),
        ({"version": 1, "exact": True}, True),
    ],
)
def test_a_reference_says_which_runs_count(reference, admitted):
    assert RunReference(id="order::a", **reference).admits(family="shop.Order", version=1) is admitted
