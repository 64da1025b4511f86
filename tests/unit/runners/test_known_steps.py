"""What a process knows of a step before the run that a message is for is read."""

from __future__ import annotations

import secrets
from datetime import timedelta

import pytest
from defining import A, B, C, a_step, define

from hephaestus_celery import Done
from hephaestus_celery.runners.known_steps import LIMIT_MARGIN, limit_of, predecessors_of

D = a_step("D", "ok")


@pytest.fixture
def name():
    """Names a workflow of this test and of no other."""
    return f"known_steps.{secrets.token_hex(6)}"


@pytest.mark.parametrize("limit", [3, 3.0, timedelta(seconds=3)])
def test_the_store_gives_a_pool_the_time_to_end_a_step_itself(name, limit):
    slow = a_step("Slow", "ok", time_limit=limit)
    define(name=name, initial_step=slow, transitions={(slow, "ok"): Done})
    assert limit_of(name, [1], "slow", margin=LIMIT_MARGIN) == int((3 + LIMIT_MARGIN) * 1e6)
    assert limit_of(name, [1], "slow", margin=0) == 3_000_000


@pytest.mark.parametrize(("limits", "longest"), [((3, 5), 5), ((5, 3), 5), ((3, None), None), ((None, 3), None)])
def test_of_versions_of_one_name_the_longest_time_limit_counts_until_it_is_known_which(name, limits, longest):
    for version, limit in enumerate(limits, 1):
        slow = a_step("Slow", "ok", time_limit=limit)
        define(name=name, version=version, initial_step=slow, transitions={(slow, "ok"): Done})
    assert limit_of(name, [1, 2], "slow", margin=0) == (longest and longest * 1_000_000)
    assert limit_of(name, [1, 2, 3], "slow", margin=0) == limit_of(name, [1, 2], "slow", margin=0)


def test_a_step_without_a_time_limit_has_none(name):
    define(name=name, initial_step=A, transitions={(A, "ok"): Done})
    assert limit_of(name, [1], "a", margin=0) is None


@pytest.mark.parametrize(("versions", "step"), [([], "a"), ([2], "a"), ([1], "unheard")])
def test_what_is_not_known_here_has_no_time_limit(name, versions, step):
    define(name=name, initial_step=A, transitions={(A, "ok"): Done})
    assert limit_of(name, versions, step, margin=0) is None


def test_a_step_asks_for_what_its_predecessors_gave(name):
    define(name=name, initial_step=A, transitions={(A, "ok"): [B, C], (B, "ok"): D, (C, "ok"): D, (D, "ok"): Done})
    assert [predecessors_of(name, [1], step) for step in ("a", "b", "d")] == [[], ["a"], ["b", "c"]]


def test_where_the_version_is_not_sure_a_step_asks_for_its_predecessors_in_all(name):
    define(name=name, initial_step=A, transitions={(A, "ok"): B, (B, "ok"): Done})
    define(name=name, version=2, initial_step=A, transitions={(A, "ok"): C, (C, "ok"): B, (B, "ok"): Done})
    assert predecessors_of(name, [1, 2], "b") == ["a", "c"]


@pytest.mark.parametrize(("versions", "step"), [([], "b"), ([2], "b"), ([1], "unheard")])
def test_of_what_is_not_known_here_nothing_is_asked_for(name, versions, step):
    define(name=name, initial_step=A, transitions={(A, "ok"): B, (B, "ok"): Done})
    assert predecessors_of(name, versions, step) == []
