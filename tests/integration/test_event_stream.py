"""The iterator over the event stream, on a real server: it blocks, it ends, it outlives an outage, and it tells gaps."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import islice

import pytest
from stillness import Stillness

from hephaestus_celery import ConfigurationError, Hephaestus, Settings, StorageError, StreamEvent, StreamGap
from hephaestus_celery.client import stream_reading
from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.testing.conformance.conditions import eventually
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

TOLD = replace(DURATIONS, stream=100_000)
SETTINGS = Settings(event_stream=100_000)


@pytest.fixture
def told(redis_storage, drive):
    return drive(redis_storage, durations=TOLD)


@pytest.fixture
def open_runtime():
    """``open_runtime(storage)``: a runtime on a store, which is left open."""
    made = []

    def open_one(storage, settings=SETTINGS):
        made.append(Hephaestus(storage=storage, settings=settings))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


@pytest.fixture
def hephaestus(open_runtime, redis_storage):
    return open_runtime(redis_storage)


def run_through(told, count=1):
    runs = [told.start(scope="none") for _ in range(count)]
    for run in runs:
        run.step("a")
        run.step("b")
    return runs


def taken(events, count):
    """So many events, acknowledged."""
    found = list(islice(events, count))
    for event in found:
        event.ack()
    return found


def test_it_blocks_until_there_is_more(told, hephaestus):
    with hephaestus.events("g") as events, ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, events)
        with pytest.raises(TimeoutError):
            first.result(1.5)
        began = time.monotonic()
        run_through(told)
        assert first.result(5).name == ("hephaestus", "workflow", "start")
        assert time.monotonic() - began < 0.5


def test_another_thread_ends_it(hephaestus):
    events = hephaestus.events("g")
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, events)
        events.close()
        assert rest.result(5) == []
    events.close()
    assert list(events) == []


def test_an_interrupt_ends_it_at_once_and_it_can_go_on(told, hephaestus):
    events = hephaestus.events("g")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with Stillness() as waited, pytest.raises(KeyboardInterrupt):
            next(events)
        assert waited.seconds < 1
    finally:
        signal.signal(signal.SIGALRM, before)
    run_through(told)
    assert [event.sequence for event in taken(events, 14)] == list(range(1, 15))


def test_each_event_goes_to_one_consumer_of_a_group_and_to_every_group(told, hephaestus):
    run_through(told, 20)
    with hephaestus.events("g") as one, hephaestus.events("g") as two, hephaestus.events("h") as other:
        seen = [[], []]
        for number, events in enumerate((one, two)):
            threading.Thread(target=lambda n=number, each=events: seen[n].extend(drain(each)), daemon=True).start()
        eventually(lambda: sum(map(len, seen)) >= 280, what="all events")
        assert len({(event.run_id, event.sequence) for events in seen for event in events}) == 280
        assert len(taken(other, 280)) == 280


def drain(events):
    for event in events:
        event.ack()
        yield event


def test_what_was_not_acknowledged_comes_again_under_the_same_name(told, hephaestus):
    run_through(told)
    with hephaestus.events("g", "worker") as events:
        next(events).ack()
        next(events).ack()
        next(events)
    with hephaestus.events("g", "worker") as events:
        assert [event.sequence for event in taken(events, 12)] == list(range(3, 15))


def test_a_consumer_that_is_gone_is_taken_over(told, hephaestus, monkeypatch):
    run_through(told)
    events = hephaestus.events("g")
    assert len(list(islice(events, 5))) == 5
    monkeypatch.setattr(stream_reading, "TAKEOVER", 100_000)
    with hephaestus.events("g") as others:
        found = {event.sequence for event in taken(others, 14)}
    assert found == set(range(1, 15))


def test_a_consumer_that_is_slow_keeps_what_it_has(told, hephaestus, monkeypatch):
    monkeypatch.setattr(stream_reading, "TAKEOVER", 600_000)
    monkeypatch.setattr(stream_reading, "_STALE_NS", 100_000_000)
    run_through(told, 4)
    with hephaestus.events("g") as slow, hephaestus.events("g") as quick, ThreadPoolExecutor(1) as pool:
        first = next(slow)
        others = pool.submit(lambda: list(drain(quick)))
        found = [first]
        first.ack()
        for event in islice(slow, 55):
            event.ack()
            found.append(event)
            time.sleep(0.03)
        quick.close()
        assert len(found) + len(others.result(10)) == 56
    assert len({(event.run_id, event.sequence) for event in found}) == len(found)


def test_a_gap_stands_where_the_cap_was_faster(told, hephaestus, client, namespace):
    run_through(told)
    with hephaestus.events("g") as events:
        taken(events, 14)
        run_through(told, 30)
        key = f"{namespace}:{{0}}:events"
        client.xtrim(key, maxlen=4, approximate=False)
        gap = next(events)
        assert isinstance(gap, StreamGap)
        left = client.xrange(key)
        rest = list(islice(events, 1))
        assert isinstance(rest[0], StreamEvent)
        assert gap.missed == 30 * 14 - (3 + 3 + 1 + 7)
        assert gap.since <= gap.until <= rest[0].at + timedelta(milliseconds=1)
        assert len(left) == 4


def test_what_was_handed_out_and_then_cut_off_is_a_gap_too(told, hephaestus, client, namespace):
    run_through(told)
    with hephaestus.events("g", "one") as events:
        next(events)
    client.xtrim(f"{namespace}:{{0}}:events", maxlen=1, approximate=False)
    with hephaestus.events("g", "one") as events:
        gap = next(events)
        assert isinstance(gap, StreamGap)
        assert gap.missed == 3
        assert [event.sequence for event in taken(events, 7)] == list(range(8, 15))
        pending = client.xpending(f"{namespace}:{{0}}:events", "g")["pending"]
        assert pending == 0


def test_a_frozen_store_is_an_error_within_seconds_and_then_it_goes_on(namespace, drive, open_runtime):
    with EmbeddedServer() as server:
        storage = RedisStorage(server.url, namespace=namespace, timeout=timedelta(seconds=1))
        told = drive(storage, durations=TOLD)
        events = open_runtime(storage).events("g")
        run_through(told)
        found = taken(events, 14)
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(StorageError):
                next(events)
            assert time.monotonic() - began < 5
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
        eventually(lambda: answers(storage), what="the server answers again")
        run_through(told)
        again = taken(events, 14)
        assert len({(event.run_id, event.sequence) for event in [*found, *again]}) == 28


def answers(storage):
    try:
        return storage.now() > 0
    except StorageError:
        return False


def test_several_partitions_are_merged(redis_url, namespace, drive, open_runtime):
    storage = RedisStorage(redis_url, namespace=namespace, partitions=4)
    told = drive(storage, durations=TOLD)
    runs = [told.start(scope="none", instance_id=f"order::{number}") for number in range(12)]
    for run in runs:
        run.step("a")
        run.step("b")
    with open_runtime(storage).events("g") as events:
        found = taken(events, 12 * 14)
    for run in runs:
        assert [event.sequence for event in found if event.run_id == run.id] == list(range(1, 15))
    for key in storage._client.scan_iter(f"{namespace}:*"):
        storage._client.delete(key)


def test_it_is_refused_where_the_stream_is_off_and_for_bad_names(redis_storage, open_runtime, hephaestus):
    with pytest.raises(ConfigurationError, match="hephaestus_event_stream"):
        open_runtime(redis_storage, Settings()).events("g")
    for name in ("", "a b", "x" * 201, 3):
        with pytest.raises(ValueError, match="group must be a string"):
            hephaestus.events(name)


def test_a_consumer_without_a_name_leaves_nothing_behind(told, hephaestus, client, namespace):
    run_through(told)
    with hephaestus.events("g") as events:
        taken(events, 14)
    assert client.xinfo_consumers(f"{namespace}:{{0}}:events", "g") == []


def test_groups_that_nobody_has_used_for_a_month_are_forgotten(told, hephaestus, client, namespace):
    run_through(told)
    key = f"{namespace}:{{0}}:events"
    for group in ("old", "new"):
        with hephaestus.events(group) as events:
            next(events)
    month = 30 * 24 * 3_600_000
    client.hset(f"{key}:used", "old", int(time.time() * 1000) - month - 1000)
    client.hset(f"{key}:used", "new", int(time.time() * 1000) - 3_700_000)
    run_through(told)  # what the first consumer of the group has left unread is handed over after a minute
    with hephaestus.events("new") as events:
        next(events)
    assert [group["name"] for group in client.xinfo_groups(key)] == [b"new"]
    assert client.hkeys(f"{key}:used") == [b"new"]


def test_an_event_loop_reads_it_too(told, hephaestus):
    async def read():
        async with hephaestus.aio.events("g") as events:
            first = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.1)
            await asyncio.to_thread(run_through, told)
            found = [await first, await anext(events)]
            for event in found:
                await event.ack()
            return [event.name for event in found]

    assert asyncio.run(read()) == [("hephaestus", "workflow", "start"), ("hephaestus", "engine", "advance")]
    with hephaestus.events("g") as others:
        assert next(others).sequence > 2  # both were acknowledged
