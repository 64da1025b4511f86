"""The Redis store on event loops: nothing blocks them, waits share a connection, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import sys
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import flows
import pytest
from celery import Celery
from heart import LONGEST_GAP, Heart, frozen
from stage import eventually
from stillness import Stillness

import hephaestus_celery
from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.exceptions import ConfigurationError, StorageError
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.store import RedisStorage

UNKNOWN = "01a2041a-b77c-7053-80cd-fe09e0e24f0e"
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


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "connecting"])
def test_a_frozen_store_never_blocks_the_loop_and_is_an_error_soon(connected):
    async def ask(storage, server):
        calls = storage.aio()
        if connected:
            await calls.load(UNKNOWN)
        async with Heart() as heart:
            with frozen(server), Stillness() as waited:
                asked = await asyncio.gather(
                    calls.load(UNKNOWN),
                    calls.list_runs(Query()),
                    calls.wait_finished(UNKNOWN, timeout=60),
                    *(calls.history(UNKNOWN) for _ in range(50)),  # more than there are connections
                    return_exceptions=True,
                )
        assert {type(each) for each in asked} == {StorageError}
        assert await calls.load(UNKNOWN) is None  # it goes on by itself
        return heart, waited.seconds

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
        with Stillness() as waited, pytest.raises(asyncio.CancelledError):
            await wait
        assert waited.seconds < 0.1
        while any("hephaestus" in task.get_name() for task in asyncio.all_tasks()) or any(
            int(each["sub"]) for each in connections_of(client, namespace)
        ):
            await asyncio.sleep(0.01)  # for the half second that the connection is kept
        assert not calls._loops.here().waits._waits
        assert await calls.load(run.id)

    asyncio.run(asyncio.wait_for(cancelled(), 10))


@pytest.mark.parametrize("pause", [0, 0.001, 0.2], ids=["not begun", "asking", "listening"])
def test_a_wait_that_goes_on_when_all_is_closed_ends_and_says_so(drive, named, client, namespace, pause):
    run = drive(named).start()

    async def closes():
        calls = named.aio()
        await calls.load(run.id)
        waits = [asyncio.create_task(calls.wait_finished(run.id, timeout=60)) for _ in range(3)]
        await asyncio.sleep(pause)
        await calls.close()
        told = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 5)
        assert {type(each) for each in told} == {ConfigurationError}
        assert all("hephaestus.aio was closed on this event loop" in str(each) for each in told)
        assert await calls.wait_finished(run.id, timeout=0.1) is False  # a call opens what it needs again

    already = len(connections_of(client, namespace))
    asyncio.run(closes())
    eventually(lambda: len(connections_of(client, namespace)) <= already, what="all are closed")


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


@pytest.mark.parametrize("warm", [True, False])
def test_a_cancellation_is_heard_of_wherever_it_strikes(named, warm):
    async def cancelled():
        calls = named.aio()
        if warm:
            await calls.load(UNKNOWN)
        for turns in range(60):
            call = asyncio.create_task(calls.load(UNKNOWN))
            for _ in range(turns):
                await asyncio.sleep(0)
            if call.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await call
            if warm:
                await calls.load(UNKNOWN)

    asyncio.run(cancelled())


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


class Resolver:
    """What the system says of a name, and says only once it may."""

    def __init__(self, address=None):
        self.address, self.asked, self.may, self.threads = address, threading.Event(), threading.Event(), set()

    def __call__(self, name, *rest, **options):
        self.threads.add(threading.current_thread())
        self.asked.set()
        assert self.may.wait(30)
        if self.address is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real_getaddrinfo(self.address, *rest, **options)


real_getaddrinfo = socket.getaddrinfo


@pytest.fixture
def port(private_server):
    """Where the server listens beside its socket in a folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with connect(private_server.url, timeout=timedelta(seconds=20), options={}) as admin:
        admin.config_set("bind", "127.0.0.1")
        admin.config_set("port", port)
    return port


@pytest.mark.parametrize("known", [True, False], ids=["a name", "a name of nobody"])
def test_a_name_that_is_looked_up_for_long_keeps_no_loop_waiting(port, monkeypatch, known):
    resolver = Resolver("127.0.0.1" if known else None)
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    storage = RedisStorage(f"redis://store.example:{port}", timeout=timedelta(seconds=30))

    async def ask():
        async with Heart() as heart:
            call = asyncio.create_task(storage.aio().load(UNKNOWN))
            assert await asyncio.to_thread(resolver.asked.wait, 30)
            for _ in range(20):
                await asyncio.sleep(0.005)
            assert not call.done()
            resolver.may.set()
            await asyncio.wait([call])
        return heart.busy, call

    busy, call = asyncio.run(ask())
    assert busy < LONGEST_GAP
    assert threading.main_thread() not in resolver.threads
    if known:
        assert call.result() is None
    else:
        with pytest.raises(StorageError, match="Name or service not known"):
            call.result()


@pytest.mark.parametrize("how", ["too long", "cancelled"])
def test_a_call_does_not_wait_for_a_name_that_is_never_found(monkeypatch, how):
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    storage = RedisStorage("redis://store.example", timeout=timedelta(seconds=LIMIT))

    async def ask():
        call = asyncio.create_task(storage.aio().load(UNKNOWN))
        assert await asyncio.to_thread(resolver.asked.wait, 30)
        if how == "cancelled":
            call.cancel()
        with Stillness() as waited:
            await asyncio.wait([call])
        resolver.may.set()
        return call, waited.seconds

    call, took = asyncio.run(ask())
    assert took < 4 * LIMIT
    if how == "cancelled":
        assert call.cancelled()
    else:
        assert isinstance(call.exception(), StorageError)


def test_a_thousand_waits_of_a_handle_take_little_memory(redis_url, namespace):
    app = Celery("waits", broker=redis_url, set_as_current=False)
    options = {"client_name": namespace}
    storage = RedisStorage(redis_url, namespace=namespace, timeout=timedelta(seconds=60), options=options)
    with hephaestus_celery.Hephaestus(app, storage=storage) as hephaestus:
        app.conf.task_default_queue = namespace
        handle = asyncio.run(in_block(hephaestus, hephaestus.aio.start_instance(flows.Linear, {"value": 1}, id="a")))

        async def wait():
            async with hephaestus.aio:
                first = asyncio.create_task(handle.aio.wait())
                waits = storage.aio()._loops.here().waits
                while not any(wait.looked for each in waits._waits.values() for wait in each):
                    await asyncio.sleep(0.005)
                gc.collect()
                with untraced():
                    tracemalloc.start()
                    tasks = [asyncio.create_task(handle.aio.wait()) for _ in range(WAITS)]
                    while sum(wait.looked for each in waits._waits.values() for wait in each) < 1 + WAITS:
                        await asyncio.sleep(0.005)
                    gc.collect()
                    taken, _ = tracemalloc.get_traced_memory()
                    tracemalloc.stop()
                subscribed = [each for each in connections_of(storage._client, namespace) if int(each["sub"])]
                await handle.aio.cancel()
                assert {each.status for each in await asyncio.gather(first, *tasks)} == {"cancelled"}
            return taken / WAITS, len(subscribed)

        each, subscribed = asyncio.run(wait())
    app.close()
    assert subscribed == 1
    assert each < 6000, each


@contextlib.contextmanager
def untraced():
    """Without a tracer, such as that of coverage: every frame that it sees becomes an object, 2 kB more for each wait."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


async def in_block(hephaestus, call):
    async with hephaestus.aio:
        return await call
