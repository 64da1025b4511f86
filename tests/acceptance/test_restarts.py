"""Workers restarted while a run waits: its beginning stays where it was, and so do its durations."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import flows
import pytest
from redis import Redis
from stage import eventually

from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.keys import Keys

pytestmark = pytest.mark.only_on("redis", why="starts and durations are in the store")


@pytest.fixture
def server(redis_url):
    from datetime import timedelta

    client: Redis = connect(redis_url, timeout=timedelta(seconds=5), options={})
    yield client
    client.close()


def waiting_run(stage):
    handle = stage.hephaestus.start_instance(flows.Payment, {"value": 1}, id="x1")
    eventually(lambda: handle.get().status == "waiting", what="the run waits")
    return handle


def start_key(stage, handle):
    return Keys(stage.namespace, 1).of_run(handle.run_id).names[1]


def test_durations_count_from_the_original_moments(stage):
    before = time.time_ns()
    stage.start_workers()
    handle = waiting_run(stage)
    started, suspended = handle.get().telemetry_start_time, time.time_ns()
    stage.workers[0].stop()
    stage.start_workers()
    resumed = time.time_ns()
    handle.resume("paid", {"amount": 3})
    instance = handle.wait(30)
    events = stage.emitted(handle.run_id)
    names = [event["event"] for event in events]
    assert names.count("workflow.start") == 1
    assert instance.telemetry_start_time == started
    stop, resume = events[-1], next(event for event in events if event["event"] == "step.resume")
    assert stop["metadata"]["hostname"] == "w1@test"
    assert resumed - suspended - 50_000_000 <= resume["measurements"]["wait_duration"] <= stop["at"] - before
    assert resumed - started - 50_000_000 <= stop["measurements"]["duration"] <= stop["at"] - started + 50_000_000
    lasted = instance.finished_at - datetime.fromtimestamp(started / 1e9, UTC)
    assert abs(stop["measurements"]["duration"] / 1e9 - lasted.total_seconds()) < 0.001


@pytest.mark.parametrize(
    ("value", "case"),
    [
        (None, "deleted"),
        ("9" * 19, "in the future"),
        ("yesterday", "garbage"),
        (b"\xff\xfe", "no text at all"),
        (["a", "list"], "another type"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else None,
)
def test_an_unknown_start_makes_the_duration_none_and_nothing_else(stage, server, value, case):
    stage.start_workers(concurrency=1, pool="solo")
    handle = waiting_run(stage)
    key = start_key(stage, handle)
    server.delete(key)
    if isinstance(value, list):
        server.rpush(key, *value)
    elif value is not None:
        server.set(key, value)
    handle.resume("paid", {"amount": 3})
    instance = handle.wait(30)
    assert instance.status == "completed"
    assert instance.context.steps["wait_for_event"] == {"amount": 3}
    events = stage.emitted(handle.run_id)
    stop = events[-1]
    assert stop["measurements"] == {"duration": None, "step_count": 3, "advance_count": 3}, case
    assert stop["metadata"]["status"] == "completed"
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert next(e for e in events if e["event"] == "step.resume")["measurements"]["wait_duration"] > 0
