"""Tests of listings: every filter, all together, newest first, in pages."""

from __future__ import annotations

import itertools

import pytest

from hephaestus_celery.core.values.lifecycle import LIVE, Status
from hephaestus_celery.storage.instances import decode_instance, decode_summary
from hephaestus_celery.storage.queries import Query


def ids(storage, **filters):
    runs, _ = storage.list_runs(Query(**filters))
    return [run_id for run_id, _ in runs]


def pages(storage, limit, **filters):
    """The run ids of all pages, page by page."""
    found, cursor = [], None
    while True:
        runs, cursor = storage.list_runs(Query(limit=limit, cursor=cursor, **filters))
        found.append([run_id for run_id, _ in runs])
        if cursor is None:
            return found


def set_start(run, at):
    """Let a run have begun at another time."""
    run.probe.set_started_at(run.storage, run.id, at)


@pytest.fixture
def runs(stand):
    """Six runs, one in each status, newest last."""
    runs = [stand.start({("a", "ok"): ["done"]}, instance_id=f"order::{number}") for number in range(6)]
    pending, running, waiting, completed, failed, cancelled = runs
    assert pending.load().status is Status.PENDING
    running.claim("a")
    waiting.wait_at("a")
    completed.step("a")
    failed.claim("a")
    failed.fail("a")
    cancelled.cancel()
    return runs


def test_runs_are_listed_newest_first(storage, runs):
    assert ids(storage) == [run.id for run in reversed(runs)]


def test_a_listed_run_is_what_load_gives(storage, runs):
    found, _ = storage.list_runs(Query())
    listed = [decode_summary(summary, run_id=run_id, reader=storage) for run_id, summary in found]
    assert listed == [decode_instance(run.load(), reader=storage) for run in reversed(runs)]


@pytest.mark.parametrize("size", range(7))
def test_any_combination_of_statuses_is_listed_newest_first(storage, runs, size):
    by_status = dict(zip(Status, runs, strict=True))
    for statuses in itertools.combinations(Status, size):
        expected = [run.id for status, run in reversed(by_status.items()) if status in statuses]
        assert ids(storage, statuses=frozenset(statuses)) == expected


def test_runs_are_found_by_id(storage, runs):
    assert ids(storage, id="order::2") == [runs[2].id]


def test_the_runs_of_an_id_are_found_together(stand, storage):
    first = stand.start()
    first.cancel()
    second = stand.start()
    assert ids(storage, id="order::a") == [second.id, first.id]


def test_runs_are_found_by_name_version_and_family(stand, storage):
    one = stand.start(scope="version", name="shop.V1", family="shop.Order", version=1)
    two = stand.start(scope="version", name="shop.V2", family="shop.Order", version=2)
    other = stand.start(name="shop.Other", version=2, instance_id="order::b")
    assert ids(storage, name="shop.V1") == [one.id]
    assert ids(storage, version=2) == [other.id, two.id]
    assert ids(storage, family="shop.Order") == [two.id, one.id]
    assert ids(storage, family="shop.Order", version=2) == [two.id]


def test_runs_are_found_by_tag(stand, storage):
    both = stand.start(tags=("fast", "été"), instance_id="order::1")
    one = stand.start(tags=("fast",), instance_id="order::2")
    stand.start(instance_id="order::3")
    assert ids(storage, tag="fast") == [one.id, both.id]
    assert ids(storage, tag="été") == [both.id]


def test_started_after_and_before_leave_out_the_moment_itself(storage, runs):
    for number, run in enumerate(runs):
        set_start(run, 1000 + number)
    assert ids(storage, started_after=1002) == [run.id for run in reversed(runs[3:])]
    assert ids(storage, started_before=1002) == [run.id for run in reversed(runs[:2])]
    assert ids(storage, started_after=1000, started_before=1003) == [runs[2].id, runs[1].id]


def test_all_filters_must_match(stand, storage):
    wanted = stand.start(tags=("fast",), name="shop.V1", family="shop.Order", instance_id="order::1")
    filters = {
        "statuses": frozenset({Status.PENDING}),
        "name": "shop.V1",
        "version": 1,
        "family": "shop.Order",
        "id": "order::1",
        "tag": "fast",
        "started_after": wanted.load().started_at - 1,
        "started_before": wanted.load().started_at + 1,
    }
    others = {
        "statuses": frozenset({Status.FAILED}),
        "name": "shop.V2",
        "version": 2,
        "family": "shop.Other",
        "id": "order::2",
        "tag": "slow",
        "started_after": wanted.load().started_at,
        "started_before": wanted.load().started_at,
    }
    assert ids(storage, **filters) == [wanted.id]
    assert [name for name, value in others.items() if ids(storage, **{**filters, name: value})] == []


@pytest.mark.parametrize(
    "filters", [{}, {"tag": "t"}, {"family": "shop.Order"}, {"statuses": LIVE}, {"name": "shop.Order"}]
)
@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
def test_pages_are_complete_and_the_last_one_says_so(stand, storage, limit, filters):
    runs = [stand.start(tags=("t",), instance_id=f"order::{number}") for number in range(6)]
    found = pages(storage, limit, **filters)
    assert [len(page) for page in found] == [limit] * (6 // limit) + ([6 % limit] if 6 % limit else [])
    assert list(itertools.chain(*found)) == [run.id for run in reversed(runs)]


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_are_complete_over_runs_that_began_in_one_moment(stand, storage, limit):
    runs = [stand.start(instance_id=f"order::{number}") for number in range(7)]
    for run in runs:
        set_start(run, 1000)
    runs[0].claim("a")  # in another index than the others
    for filters in ({}, {"statuses": LIVE}):
        found = list(itertools.chain(*pages(storage, limit, **filters)))
        assert found == sorted((run.id for run in runs), reverse=True)


def test_many_runs_of_one_moment_are_listed_page_by_page(stand, storage):
    runs = [stand.start(instance_id=f"order::{number}") for number in range(250)]
    for run in runs:
        set_start(run, 1000)
    assert list(itertools.chain(*pages(storage, 120))) == sorted((run.id for run in runs), reverse=True)


def test_a_page_is_full_however_few_match(stand, storage):
    runs = [stand.start(instance_id=f"order::{number}", version=1 + number % 50) for number in range(250)]
    expected = [run.id for run in reversed(runs) if run.new.version == 1]
    assert pages(storage, 3, version=1) == [expected[:3], expected[3:]]


def test_runs_started_between_two_pages_do_not_move_the_second(stand, storage):
    runs = [stand.start(instance_id=f"order::{number}") for number in range(4)]
    first, cursor = storage.list_runs(Query(limit=2))
    stand.start(instance_id="order::new")
    second, end = storage.list_runs(Query(limit=2, cursor=cursor))
    assert [run_id for run_id, _ in (*first, *second)] == [run.id for run in reversed(runs)]
    assert end is None


def test_a_cursor_and_a_later_bound_must_both_match(stand, storage):
    runs = [stand.start(instance_id=f"order::{number}") for number in range(4)]
    for number, run in enumerate(runs):
        set_start(run, 1000 + number)
    _, cursor = storage.list_runs(Query(limit=1))
    assert ids(storage, cursor=cursor, started_before=1002) == [runs[1].id, runs[0].id]


def test_nothing_matches_no_status(storage, runs):
    assert storage.list_runs(Query(statuses=frozenset())) == ([], None)


def test_an_empty_store_lists_nothing(storage):
    assert storage.list_runs(Query()) == ([], None)


@pytest.mark.parametrize("matching", [1, 2, 3])
def test_a_page_that_needs_many_looks_ends_like_any_other(stand, storage, matching):
    runs = [stand.start(instance_id=f"order::{number}", version=2 if number < matching else 1) for number in range(350)]
    wanted = [run.id for run in reversed(runs[:matching])]
    assert pages(storage, 2, version=2) == [wanted[start : start + 2] for start in range(0, matching, 2)]
