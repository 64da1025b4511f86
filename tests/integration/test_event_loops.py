"""The Redis store on event loops: nothing blocks them, waits share a connection, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from stage import eventually

from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.store import RedisStorage

UNKNOWN = "01a2041a-b77c-7053-80cd-fe09e0e24f0e"
LONGEST_GAP = 0.05
LIMIT = 0.5
WAITS = 1000


@pytest.fixture
def named(redis_url, namespace):
    """A storage whose connections bear its namespace as their name."""
    storage = RedisStorage(redis_url, namespace=namespace, options={"client_name": namespace})
    yield storage
    storage.close()


def connections_of(client, namespace):
    return [each for each in client.client_list() if each["name"] == namespace]


class Heart:
    """Beats on an event loop, and measures what is between two beats: by the clock, and of it what this thread worked.

    A machine that does other things makes the first longer, never the second; and a call that blocks takes its time limit.
    """

    def __init__(self):
        self.still = self.busy = 0.0

    async def __aenter__(self):
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _beat(self):
        clock, work = time.monotonic(), time.thread_time()
        while True:
            await asyncio.sleep(0.002)
            then, done = time.monotonic(), time.thread_time()
            self.still, self.busy = max(self.still, then - clock), max(self.busy, done - work)
            clock, work = then, done


@contextlib.contextmanager
def frozen(server):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "connecting"])
def test_a_frozen_store_never_blocks_the_loop_and_is_an_error_soon(connected):
    async def ask(storage, server):
        calls = storage.aio()
        if connected:
            await calls.load(UNKNOWN)
        async with Heart() as heart:
            began = time.monotonic()
            with frozen(server):
                asked = await asyncio.gather(
                    calls.load(UNKNOWN),
                    calls.list_runs(Query()),
                    calls.wait_finished(UNKNOWN, timeout=60),
                    *(calls.history(UNKNOWN) for _ in range(50)),  # more than there are connections
                    return_exceptions=True,
                )
            took = time.monotonic() - began
        assert {type(each) for each in asked} == {StorageError}
        assert await calls.load(UNKNOWN) is None  # it goes on by itself
        return heart, took

    with EmbeddedServer() as server:
        storage = RedisStorage(server.url, timeout=timedelta(seconds=LIMIT))
        heart, took = asyncio.run(ask(storage, server))
        storage.close()
    assert heart.busy < LONGEST_GAP
    assert heart.still < LIMIT / 2
    assert took < 4 * LIMIT


def test_a_thousand_waits_share_one_connection_and_no_thread(drive, named, client, namespace):
    stand = drive(named)
    run = stand.start()

    async def waits():
        calls = named.aio()
        threads = threading.active_count()
        waiting = [asyncio.create_task(calls.wait_finished(run.id, timeout=60)) for _ in range(WAITS)]
        while sum(wait.looked for each in calls._loops.here().waits._waits.values() for wait in each) < WAITS:
            await asyncio.sleep(0.01)
        subscribed = [each for each in connections_of(client, namespace) if int(each["sub"])]
        opened = len(connections_of(client, namespace))
        assert threading.active_count() == threads
        await asyncio.to_thread(run.cancel)
        assert all(await asyncio.gather(*waiting))
        return len(subscribed), opened

    already = len(connections_of(client, namespace))  # of blocking calls
    subscribed, opened = asyncio.run(waits())
    assert (subscribed, opened - already) == (1, 2)  # and one on which the runs are looked at
    eventually(lambda: len(connections_of(client, namespace)) <= already + 1, what="the loop's connections are closed")


def test_different_runs_are_awaited_and_each_end_is_heard_of(drive, named):
    stand = drive(named)
    runs = [stand.start(instance_id=f"order::{number}") for number in range(100)]

    async def waits():
        calls = named.aio()
        waiting = [asyncio.create_task(calls.wait_finished(run.id, timeout=60)) for run in runs]
        await asyncio.sleep(0.2)
        for run, wait in zip(runs, waiting, strict=True):
            await asyncio.to_thread(run.cancel)
            assert await asyncio.wait_for(wait, 5)

    asyncio.run(waits())


def test_a_cancelled_wait_leaves_nothing(drive, named, client, namespace):
    run = drive(named).start()

    async def cancelled():
        calls = named.aio()
        wait = asyncio.create_task(calls.wait_finished(run.id, timeout=None))
        while not any(int(each["sub"]) for each in connections_of(client, namespace)):
            await asyncio.sleep(0.01)
        wait.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await wait
        assert time.monotonic() - began < 0.1
        while any("hephaestus" in task.get_name() for task in asyncio.all_tasks()) or any(
            int(each["sub"]) for each in connections_of(client, namespace)
        ):
            await asyncio.sleep(0.01)  # for the half second that the connection is kept
        assert not calls._loops.here().waits._waits
        assert await calls.load(run.id)

    asyncio.run(asyncio.wait_for(cancelled(), 10))


def test_cancelled_calls_give_their_connections_back(named):
    async def calls_and_gives_up():
        calls = named.aio()
        for _ in range(5):
            asked = [asyncio.create_task(calls.load(UNKNOWN)) for _ in range(100)]
            await asyncio.sleep(0.005)
            for each in asked[::2]:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        connections = calls._loops.here().connections
        assert len(connections._free) == connections._made <= 10
        assert await asyncio.gather(*(calls.load(UNKNOWN) for _ in range(200))) == [None] * 200

    asyncio.run(calls_and_gives_up())


def test_loops_one_after_the_other_leave_nothing_behind(drive, named, client, namespace):
    run = drive(named).start()

    async def with_a_wait_that_goes_on():
        calls = named.aio()
        assert await calls.load(run.id)
        asyncio.create_task(calls.wait_finished(run.id, timeout=None))  # noqa: RUF006 - it is left, that is the point
        await asyncio.sleep(0.1)

    already = len(connections_of(client, namespace))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            asyncio.run(with_a_wait_that_goes_on(), debug=True)
            gc.collect()
        assert not named.aio()._loops._of
    eventually(lambda: len(connections_of(client, namespace)) <= already, what="all are closed")


def test_loops_of_many_threads_work_side_by_side(named):
    async def asks():
        calls = named.aio()
        return await asyncio.gather(*(calls.load(UNKNOWN) for _ in range(20)))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: asyncio.run(asks()), range(40))) == [[None] * 20] * 40
    assert not named.aio()._loops._of


FORKS = """
import asyncio, os, sys
from hephaestus_celery.storage.redis import RedisStorage
storage = RedisStorage(sys.argv[1])
run = "01a2041a-b77c-7053-80cd-fe09e0e24f0e"

async def asks():
    return await storage.aio().load(run)

async def main():
    assert await asks() is None
    child = os.fork()
    if child == 0:
        asyncio.events._set_running_loop(None)
        try:
            os._exit(0 if asyncio.run(asks()) is None else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert await asks() is None  # the child has left the parent's connections alone
    print(os.waitstatus_to_exitcode(status))

asyncio.run(main())
"""


def test_a_forked_process_opens_its_own_and_leaves_those_of_its_parent_alone(redis_url):
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, redis_url], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout.strip(), ran.stderr) == ("0", "")


def test_a_large_page_is_read_without_keeping_the_loop(drive, named):
    stand = drive(named)
    for number in range(600):
        stand.start(instance_id=f"order::{number}")

    async def read():
        async with Heart() as heart:
            runs, _ = await named.aio().list_runs(Query(limit=600))
        assert len(runs) == 600
        return heart.busy

    assert min(asyncio.run(read()) for _ in range(3)) < LONGEST_GAP
