"""Tests of deletions and of calls about many runs: each run by itself, with all that is stored of it."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

NOBODY = "01a22824-2020-78c8-9368-058b82f89eeb"


def finished(stand, end, **fields):
    run = stand.start({("a", "ok"): ["done"]}, tags=("fast",), **fields)
    run.deliver("go", keep=True, key="evt_1")
    run.claim("a", holder="task")
    {"completed": lambda: run.complete("a"), "failed": lambda: run.fail("a"), "cancelled": run.cancel}[end]()
    return run


def cancel_many(storage, run_ids, *, operation="cancels", reason=None):
    return storage.cancel_many(
        run_ids, operation=operation, reason=reason, entry='{"kind":"cancel"}', durations=DURATIONS
    )


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_deleted_run_is_gone_everywhere(stand, storage, end):
    run = finished(stand, end)
    assert run.delete() is None
    assert run.load() is None
    assert list(run.history()) == []
    assert storage.list_runs(Query()) == ([], None)
    assert storage.count_runs(Query()) == storage.count_runs(Query(tag="fast")) == 0
    assert storage.candidates("order::a", family=None).newest is None
    assert run.due() == run.lanes() == {}


def test_a_deleted_run_leaves_the_other_runs_of_its_id(stand, storage):
    first = finished(stand, "failed")
    second = finished(stand, "completed")
    assert second.delete() is None
    assert storage.candidates("order::a", family=None).newest == first.id
    assert first.load().status is Status.FAILED
    stand.start()


def test_a_run_that_is_active_is_not_deleted(stand):
    run = stand.start()
    assert run.delete() == Untouched(status=Status.PENDING)
    run.wait_at("a")
    assert run.delete() == Untouched(status=Status.WAITING)
    assert run.load().steps["a"].waits


@pytest.mark.parametrize("how", ["retry", "fork"])
def test_what_was_made_of_a_deleted_run_stays_whole(stand, how):
    run = stand.start({("a", "ok"): ["b"], ("b", "ok"): ["done"]})
    run.step("a", result='{"of":"a"}')
    run.claim("b")
    run.fail("b")
    again = run.retried() if how == "retry" else run.forked("b")
    assert run.delete() is None
    assert run.load() is None
    assert dict(again.load().results) == {"a": '{"of":"a"}'}
    again.step("b")
    assert again.load().status is Status.COMPLETED
    assert again.delete() is None


def test_a_run_that_is_not_there_is_not_deleted(stand):
    run = finished(stand, "completed")
    assert run.delete() is None
    assert run.delete() == Untouched()


def test_a_deletion_that_is_repeated_gets_the_first_reply(stand):
    run = finished(stand, "completed")
    assert run.delete(operation="once") is None
    assert run.delete(operation="once") is None


def test_a_run_of_a_newer_schema_is_left_alone(stand, storage):
    run = stand.start(schema=99)
    assert run.delete() == Untouched(schema=99)
    assert cancel_many(storage, [run.id]) == [Untouched(schema=99)]


def test_the_commit_of_a_worker_finds_nothing_and_leaves_nothing(stand, storage):
    run = finished(stand, "cancelled")
    run.delete()
    assert run.complete("a").verdict == "stale"
    assert not run.renew("a")
    assert run.load() is None
    assert list(run.history()) == []


def test_runs_are_deleted_in_order_each_by_itself(stand, storage):
    ended = [finished(stand, "completed", instance_id=f"order::{number}") for number in range(3)]
    active = stand.start(instance_id="order::active")
    asked = [ended[0].id, active.id, NOBODY, ended[1].id]
    assert storage.delete_many(asked, operation="many") == [None, Untouched(status=Status.PENDING), Untouched(), None]
    assert storage.list_run_ids(Query())[0] == [active.id, ended[2].id]


def test_more_runs_than_one_round_trip_takes_are_deleted(stand, storage):
    runs = [stand.start({("a", "ok"): ["done"]}, instance_id=f"order::{number}") for number in range(230)]
    for run in runs:
        run.cancel()
    assert list(storage.delete_many([run.id for run in runs], operation="many")) == [None] * 230
    assert storage.count_runs(Query()) == 0


def test_runs_are_cancelled_in_order_each_by_itself(stand, storage):
    runs = [stand.start(instance_id=f"order::{number}") for number in range(3)]
    runs[1].step("a")
    done = finished(stand, "completed", instance_id="order::done")
    found = cancel_many(storage, [runs[0].id, done.id, NOBODY, runs[1].id], reason="enough")
    assert found[1:3] == [Untouched(status=Status.COMPLETED), Untouched()]
    assert [each.run.status for each in (found[0], found[3])] == [Status.CANCELLED] * 2
    assert [each.run.cancel_reason for each in (found[0], found[3])] == ["enough"] * 2
    for run, cancelled in ((runs[0], found[0]), (runs[1], found[3])):
        assert run.load().status is Status.CANCELLED
        assert run.load().sequence == cancelled.sequence
        assert run.history()[-1].sequence == cancelled.sequence
    assert runs[2].load().status is Status.PENDING


def test_a_cancellation_of_many_that_is_repeated_gets_the_first_replies(stand, storage):
    runs = [stand.start(instance_id=f"order::{number}") for number in range(3)]
    first = cancel_many(storage, [run.id for run in runs])
    again = cancel_many(storage, [run.id for run in runs])
    assert [each.sequence for each in again] == [each.sequence for each in first]
    assert [len(run.history()) for run in runs] == [1, 1, 1]


def test_no_run_is_asked_of_nothing(storage):
    assert list(storage.delete_many([], operation="none")) == []
    assert list(cancel_many(storage, [])) == []
