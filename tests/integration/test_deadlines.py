"""Deadlines on a server: told of once though a reply or a scheduler is lost, thousands at once, at the right time by any clock."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.due_items import Deadline, encode_member
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.testing.conformance.driven_values import DURATIONS
from tests.integration.test_redis_idempotency import lossy, proxy

__all__ = ["lossy", "proxy"]

HOUR = 3_600_000_000
MANY = 2_000


@pytest.fixture
def overdue(stand, client):
    """A run whose deadline has come, and that nobody has looked at since."""
    run = stand.start(deadline=HOUR)
    client.zadd(stand.storage.keys.of_run(run.id).names[3], {encode_member(run.id, Deadline()): 1})
    return run


def told(tick):
    return [(entry.kind, entry.run_id) for entry in tick.entries]


def test_an_end_that_was_handed_over_in_a_lost_answer_is_handed_over_again(overdue, lossy, proxy):
    proxy.losing.set()
    tick = lossy.tick(0, owner="owner", worker="w1", seize=True, durations=DURATIONS)
    assert proxy.lost.is_set()
    assert told(tick) == [(Due.DEADLINE, overdue.id)]
    assert [entry.sequence for entry in overdue.history()] == [tick.entries[0].sequence]  # it has failed once
    assert told(lossy.tick(0, owner="owner", worker="w1", seize=True, durations=DURATIONS)) == []


def test_an_end_that_was_handed_over_is_told_by_no_other_scheduler(overdue, stand, redis_storage):
    assert told(stand.tick(owner="first")) == [(Due.DEADLINE, overdue.id)]
    redis_storage.resign(owner="first")
    assert told(redis_storage.tick(0, owner="second", worker="w2", seize=True, durations=DURATIONS)) == []


def test_a_long_header_is_left_to_the_caller(stand, client):
    run = stand.start(deadline=HOUR, header=json.dumps({"telemetry": "x" * 100_000}))
    client.zadd(stand.storage.keys.of_run(run.id).names[3], {encode_member(run.id, Deadline()): 1})
    [entry] = stand.tick().entries
    assert entry.expired.header is None


def test_thousands_of_deadlines_at_once_are_handled_in_slices_and_leave_nothing_due(stand, client):
    prepared = [stand.prepare(instance_id=f"order::{number}", deadline=HOUR).new for number in range(MANY)]
    stand.storage.create_many(prepared)
    due = stand.storage.keys.of_run(prepared[0].run_id).names[3]
    client.zadd(due, {encode_member(new.run_id, Deadline()): 1 for new in prepared})
    found, slices, more = [], 0, True
    while more:
        tick = stand.tick()
        found += [entry.run_id for entry in tick.entries]
        slices += 1
        more = tick.more
    assert sorted(found) == sorted(new.run_id for new in prepared)
    assert slices < MANY / 5
    assert stand.storage.count_runs(Query(statuses=frozenset([Status.FAILED]))) == MANY
    left = [member for member, _ in client.zscan_iter(due, count=10_000) if b"||" not in member]
    assert left == []


def test_a_run_without_a_deadline_has_nothing_of_it(stand, client):
    run = stand.start()
    assert client.hget(stand.storage.keys.of_run(run.id).run, "dl") is None
    assert run.due().keys() == {"a"}


def test_the_deadline_of_a_deleted_run_goes_quietly(stand, client, overdue):
    due = stand.storage.keys.of_run(overdue.id).names[3]
    client.delete(stand.storage.keys.of_run(overdue.id).run)
    tick = stand.tick()
    assert (told(tick), list(tick.problems)) == ([], [])
    assert client.zscore(due, encode_member(overdue.id, Deadline())) is None


def test_a_deadline_in_another_partition_counts_too(redis_url, namespace, redis_storage, drive):
    storage = RedisStorage(redis_url, namespace=namespace, partitions=3)
    runs = [drive(storage).start(instance_id=f"order::{number}", deadline=1) for number in range(12)]
    found = []
    for number in range(3):
        tick = storage.tick(number, owner="me", worker="w1", seize=True, durations=DURATIONS)
        found += [entry.run_id for entry in tick.entries if entry.kind is Due.DEADLINE]
    storage.close()
    assert sorted(found) == sorted(run.id for run in runs)
