"""Tests of the filters of waits and failed steps, of counts, and of pages of run ids: all agree with the listing."""

from __future__ import annotations

import itertools

import pytest

from hephaestus_celery.core.values.lifecycle import LIVE, Status
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.testing.conformance.trips import failing

TWO = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}


def found(storage, **filters):
    """The run ids that match, as the listing, the pages of run ids and the count tell them alike."""
    runs, _ = storage.list_runs(Query(**filters))
    ids, cursor = storage.list_run_ids(Query(**filters))
    assert [run_id for run_id, _ in runs] == list(ids)
    assert cursor is None
    assert storage.count_runs(Query(**filters)) == len(ids)
    return list(ids)


def id_pages(storage, limit, **filters):
    pages, cursor = [], None
    while True:
        ids, cursor = storage.list_run_ids(Query(limit=limit, cursor=cursor, **filters))
        pages.append(list(ids))
        if cursor is None:
            return pages


@pytest.fixture
def waiters(stand):
    """Three runs: one waits for ``paid``, the next for ``paid`` or ``void``, the third for no event at all."""
    runs = [stand.start(instance_id=f"order::{number}") for number in range(3)]
    runs[0].wait_at("a", accepts={"paid": "ok"})
    runs[1].wait_at("a", accepts={"paid": "ok", "void": "ok"})
    runs[2].wait_at("a", accepts={}, timeout=3_600_000_000)
    return runs


def test_runs_are_found_by_the_event_that_a_step_waits_for(storage, stand, waiters):
    stand.start(instance_id="order::other").claim("a")
    assert found(storage, waiting_for="paid") == [waiters[1].id, waiters[0].id]
    assert found(storage, waiting_for="void") == [waiters[1].id]
    assert found(storage, waiting_for="other") == []


def test_a_step_that_got_its_event_waits_for_it_no_longer(storage, waiters):
    waiters[1].deliver("void")
    assert found(storage, waiting_for="paid") == [waiters[0].id]
    assert found(storage, waiting_for="void") == []
    waiters[1].step("a")
    assert found(storage, waiting_for="paid") == [waiters[0].id]


def test_a_step_whose_timeout_came_waits_no_longer(storage, stand):
    run = stand.start()
    run.wait_at("a", timeout=1)
    stand.entries()
    assert found(storage, waiting_for="go") == []
    assert found(storage, waiting_since_before=storage.now() + 1_000_000) == []


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_a_run_that_has_ended_waits_for_nothing(storage, stand, end):
    run = stand.start(TWO)
    run.step("a")
    run.wait_at("b", accepts={"paid": "ok"})
    if end == "cancel":
        run.cancel()
    else:
        run.claim("c")
        run.fail("c")
    assert found(storage, waiting_for="paid") == []
    assert found(storage, waiting_for="paid", statuses=frozenset({Status.FAILED, Status.CANCELLED})) == []


def test_a_run_of_two_waiting_steps_is_found_once(storage, stand):
    run = stand.start(TWO)
    run.step("a")
    for step in ("b", "c"):
        run.wait_at(step, accepts={"paid": "ok"})
    assert found(storage, waiting_for="paid") == [run.id]
    run.deliver("paid", step="b")
    assert found(storage, waiting_for="paid") == [run.id]


def test_an_early_event_leaves_nothing_that_waits(storage, stand):
    run = stand.start()
    run.claim("a")
    run.deliver("go", keep=True)
    run.suspend("a")
    assert found(storage, waiting_for="go") == []


def test_runs_are_found_by_the_time_since_which_a_step_waits(storage, waiters):
    since = [run.load().steps["a"].waiting_since for run in waiters]
    assert found(storage, waiting_since_before=since[2] + 1) == [run.id for run in reversed(waiters)]
    assert found(storage, waiting_since_before=since[1]) == [waiters[0].id]
    assert found(storage, waiting_since_before=since[0]) == []


def test_event_and_time_are_about_the_same_step(storage, stand):
    run = stand.start(TWO)
    run.step("a")
    run.wait_at("b", accepts={"early": "ok"})
    run.wait_at("c", accepts={"late": "ok"})
    late = run.load().steps["c"].waiting_since
    assert found(storage, waiting_for="early", waiting_since_before=late) == [run.id]
    assert found(storage, waiting_for="late", waiting_since_before=late) == []


def test_runs_are_found_by_the_step_that_failed(storage, stand):
    runs = [stand.start(TWO, instance_id=f"order::{number}") for number in range(3)]
    for run, step in zip(runs, ("a", "b", "b"), strict=True):
        if step != "a":
            run.step("a")
        run.claim(step)
        run.fail(step)
    stand.start(instance_id="order::other").claim("a")
    assert found(storage, failed_step="b") == [runs[2].id, runs[1].id]
    assert found(storage, failed_step="a") == [runs[0].id]
    assert found(storage, failed_step="b", statuses=frozenset({Status.FAILED})) == [runs[2].id, runs[1].id]
    assert found(storage, failed_step="b", statuses=LIVE) == []


def test_a_run_that_undoes_matches_by_the_step_that_failed_and_so_does_one_whose_undoing_was_cancelled(storage, stand):
    undoing, cancelled = failing(stand, instance_id="order::1"), failing(stand, instance_id="order::2")
    for run in (undoing, cancelled):
        run.fail("c")
    cancelled.cancel()
    assert found(storage, failed_step="c") == [cancelled.id, undoing.id]
    assert found(storage, failed_step="c", family=undoing.new.family) == [cancelled.id, undoing.id]
    assert found(storage, failed_step="c", statuses=LIVE) == [undoing.id]
    assert found(storage, failed_step="c", statuses=frozenset({Status.CANCELLED})) == [cancelled.id]


def test_waits_match_together_with_all_other_filters(storage, stand):
    wanted = stand.start(tags=("fast",), name="shop.V1", family="shop.Order", instance_id="order::1")
    wanted.wait_at("a")
    stand.start(instance_id="order::2").wait_at("a")
    filters = {"waiting_for": "go", "tag": "fast", "name": "shop.V1", "version": 1, "id": "order::1"}
    others = {"waiting_for": "no", "tag": "slow", "name": "shop.V2", "version": 2, "id": "order::2"}
    assert found(storage, **filters) == [wanted.id]
    assert [name for name, value in others.items() if found(storage, **{**filters, name: value})] == []


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"statuses": frozenset({Status.FAILED})},
        {"statuses": LIVE},
        {"tag": "t"},
        {"family": "shop.Order"},
        {"family": "shop.Order", "tag": "t"},
        {"id": "order::3"},
        {"name": "shop.Order"},
        {"version": 2},
    ],
)
def test_a_count_is_the_length_of_the_listing(storage, stand, filters):
    for number in range(6):
        run = stand.start(tags=("t",) if number % 2 else (), version=1 + number % 2, instance_id=f"order::{number}")
        if number == 5:
            run.claim("a", versions=(2,))
            run.fail("a")
    assert len(found(storage, **filters)) == storage.count_runs(Query(**filters))
    middle = sorted(run.started_at for _, run in storage.list_runs(Query())[0])[2]
    found(storage, started_after=middle, **filters)
    found(storage, started_before=middle, **filters)


def test_a_count_of_more_than_a_page_is_whole(storage, stand):
    for number in range(130):
        stand.start(instance_id=f"order::{number}")
    assert storage.count_runs(Query(limit=10, version=1)) == storage.count_runs(Query(limit=10)) == 130


@pytest.mark.parametrize("filters", [{}, {"waiting_for": "go"}, {"statuses": LIVE}])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_of_run_ids_are_complete_and_the_last_one_says_so(storage, stand, limit, filters):
    runs = [stand.start(TWO, instance_id=f"order::{number}") for number in range(7)]
    for run in runs:
        run.step("a")
        run.wait_at("b")
        run.wait_at("c")
    pages = id_pages(storage, limit, **filters)
    assert list(itertools.chain(*pages)) == [run.id for run in reversed(runs)]
    assert all(len(page) == limit for page in pages[:-1])


def test_waits_of_runs_that_began_in_one_moment_are_all_found(storage, stand):
    runs = [stand.start(TWO, instance_id=f"order::{number}") for number in range(70)]
    for run in runs:
        run.step("a")
        run.wait_at("b")
        run.wait_at("c")
        run.probe.set_started_at(storage, run.id, 1000)
    assert found(storage, waiting_for="go") == sorted((run.id for run in runs), reverse=True)
    cursor, listed = None, []
    while True:
        page, cursor = storage.list_runs(Query(waiting_for="go", limit=9, cursor=cursor))
        listed.extend(run_id for run_id, _ in page)
        if cursor is None:
            break
    assert listed == sorted((run.id for run in runs), reverse=True)
