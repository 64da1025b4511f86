"""Many waits of one process: one connection, one thread, and every end is heard of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from stage import SUPPORT, eventually
from stillness import Stillness

from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.redis.store import RedisStorage

WAITS = 300


@pytest.fixture
def named_storage(redis_url, namespace):
    """A storage whose connections bear its namespace as their name."""
    storage = RedisStorage(redis_url, namespace=namespace, options={"client_name": namespace})
    yield storage
    storage.close()


def connections_of(client, namespace):
    return [each for each in client.client_list() if each["name"] == namespace]


def listening(storage):
    listener = storage._waits._listener
    return listener is not None and len(listener._waiters)


def test_hundreds_of_waits_share_one_connection_and_one_thread_and_all_end(drive, named_storage, client, namespace):
    stand = drive(named_storage)
    runs = [stand.start(instance_id=f"order::{number}") for number in range(WAITS)]
    threads = threading.active_count()
    with ThreadPoolExecutor(WAITS) as pool:
        waits = [pool.submit(named_storage.wait_finished, run.id, timeout=60) for run in runs]
        eventually(lambda: listening(named_storage) == WAITS, what="all wait")
        subscribed = [each for each in connections_of(client, namespace) if int(each["sub"]) > 0]
        assert len(subscribed) == 1
        assert len([thread for thread in threading.enumerate() if thread.name == "hephaestus-waits"]) == 1
        eventually(lambda: connections_of(client, namespace)[0], what="the server names them")
        for run in runs:
            run.cancel()
        assert all(wait.result(30) for wait in waits)
    assert threading.active_count() <= threads + 1


def test_the_subscription_ends_when_nobody_waits(drive, named_storage, client, namespace):
    run = drive(named_storage).start()
    assert named_storage.wait_finished(run.id, timeout=0.05) is False
    named_storage.close()
    eventually(lambda: not connections_of(client, namespace), what="the connection is closed")
    run.cancel()
    assert named_storage.wait_finished(run.id, timeout=5) is True


def test_two_waits_for_one_run_both_end(drive, named_storage):
    run = drive(named_storage).start()
    with ThreadPoolExecutor(3) as pool:
        short = pool.submit(named_storage.wait_finished, run.id, timeout=0.2)
        waits = [pool.submit(named_storage.wait_finished, run.id, timeout=30) for _ in range(2)]
        assert short.result(10) is False
        run.cancel()
        assert [wait.result(10) for wait in waits] == [True, True]


def test_a_wait_is_not_longer_than_it_may_be(drive, named_storage):
    run = drive(named_storage).start()
    began = time.monotonic()
    with Stillness() as waited:
        assert named_storage.wait_finished(run.id, timeout=0.3) is False
    assert time.monotonic() - began >= 0.3
    assert waited.seconds < 2


def test_an_end_is_heard_of_though_its_message_was_lost(drive, named_storage, client, namespace):
    run = drive(named_storage).start()
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(named_storage.wait_finished, run.id, timeout=30)
        eventually(lambda: any(int(each["sub"]) for each in connections_of(client, namespace)), what="it listens")
        client.hset(named_storage.keys.of_run(run.id).run, "st", "cancelled")  # and nobody publishes anything
        assert wait.result(10) is True


def test_a_connection_that_breaks_is_made_again_and_no_end_is_missed(drive, named_storage, client, namespace):
    stand = drive(named_storage)
    runs = [stand.start(instance_id=f"order::{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        waits = [pool.submit(named_storage.wait_finished, run.id, timeout=60) for run in runs]
        for run in runs:
            for each in connections_of(client, namespace):
                client.client_kill_filter(_id=each["id"])
            run.cancel()
        assert all(wait.result(30) for wait in waits)


def test_waits_end_with_an_error_when_the_server_is_gone_and_go_on_when_it_is_back(namespace, drive):
    with EmbeddedServer() as server:
        storage = RedisStorage(server.url, namespace=namespace, timeout=timedelta(seconds=0.5))
        run = drive(storage).start()
        with ThreadPoolExecutor(10) as pool:
            waits = [pool.submit(storage.wait_finished, run.id, timeout=60) for _ in range(10)]
            eventually(lambda: listening(storage), what="they wait")
            os.kill(server._process.pid, signal.SIGSTOP)
            for wait in waits:
                with pytest.raises(StorageError):
                    wait.result(20)
            os.kill(server._process.pid, signal.SIGCONT)
            eventually(lambda: reachable(storage), what="the server answers again")
            wait = pool.submit(storage.wait_finished, run.id, timeout=60)
            eventually(lambda: listening(storage), what="it waits")
            run.cancel()
            assert wait.result(20) is True
        storage.close()


def reachable(storage):
    try:
        return storage.now() > 0
    except StorageError:
        return False


def test_an_interrupt_ends_a_wait_at_once(drive, named_storage):
    run = drive(named_storage).start()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    began = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            named_storage.wait_finished(run.id, timeout=30)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 5
    assert listening(named_storage) == 0


def test_a_forked_process_waits_on_a_connection_of_its_own(drive, named_storage):
    stand = drive(named_storage)
    mine, its = (stand.start(instance_id=f"order::{name}") for name in "ab")
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(named_storage.wait_finished, mine.id, timeout=30)
        eventually(lambda: listening(named_storage), what="the parent waits")
        pid = os.fork()
        if pid == 0:
            os._exit(0 if named_storage.wait_finished(its.id, timeout=20) else 1)
        its.cancel()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        mine.cancel()
        assert wait.result(20) is True


def test_a_listener_that_could_not_start_or_broke_lets_nobody_wait_for_ever(drive, named_storage, client, monkeypatch):
    stand = drive(named_storage)
    run, odd = (stand.start(instance_id=f"order::{name}") for name in "ab")

    def no_more_threads(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more_threads)
        with pytest.raises(RuntimeError):
            named_storage.wait_finished(run.id, timeout=5)
    with ThreadPoolExecutor(2) as pool, monkeypatch.context() as patch:
        patch.setattr(
            threading, "excepthook", lambda _: None
        )  # what breaks it is reported there, and not of interest here
        waits = [pool.submit(named_storage.wait_finished, each.id, timeout=60) for each in (run, odd)]
        eventually(lambda: listening(named_storage) == 2, what="both wait, so a thread was started")
        client.hset(named_storage.keys.of_run(odd.id).run, "st", "a status of a later release")
        for wait in waits:
            with pytest.raises(StorageError, match="ends of runs"):
                wait.result(20)
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(named_storage.wait_finished, run.id, timeout=60)
        eventually(lambda: listening(named_storage) == 1, what="the next wait has another thread")
        run.cancel()
        assert wait.result(20) is True


GREEN_WAITS = """
import sys, uuid
from hephaestus_celery.storage.redis import RedisStorage

def make():
    made = RedisStorage(sys.argv[1], namespace="green", options={"client_name": "green"})
    for run in runs:
        made._connections.call("HSET", made.keys.of_run(run).run, "st", "running", fits=lambda _: True)
    made.wait_finished(runs[0], timeout=0.05)
    return made

runs = [str(uuid.uuid4()) for _ in range(100)]
late = make() if sys.argv[3] == "late" else None
if sys.argv[2] == "gevent":
    from gevent import monkey, sleep, spawn
    monkey.patch_all()
else:
    from eventlet import monkey_patch, sleep, spawn
    monkey_patch()
made = late or make()
waits = [spawn(made.wait_finished, run, timeout=20) for run in runs]
while len(made._waits._listener._waiters) < len(runs):
    sleep(0.01)
for run in runs:
    made._connections.call("HSET", made.keys.of_run(run).run, "st", "completed", fits=lambda _: True)
    made._connections.call("PUBLISH", made.keys.of_run(run).finished, "completed", fits=lambda _: True)
print(sum(wait.get() if sys.argv[2] == "gevent" else wait.wait() for wait in waits))
"""


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_greenlets_wait_whenever_the_library_was_patched(kind, when, private_server):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GREEN_WAITS, private_server.url, kind, when],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "100"), ran.stderr


CROWD = """
import sys, uuid
if sys.argv[2] == "gevent":
    from gevent import monkey, spawn
    monkey.patch_all()
    get = "get"
elif sys.argv[2] == "eventlet":
    from eventlet import monkey_patch, spawn
    monkey_patch()
    get = "wait"
else:
    from concurrent.futures import ThreadPoolExecutor
    spawn, get = ThreadPoolExecutor(300).submit, "result"
count = 300 if get == "result" else 1000
from hephaestus_celery import Done, Hephaestus, LocalRunner, Unique, WaitForEvent, Workflow
from hephaestus_celery.locks import Turns
from hephaestus_celery.storage.redis import RedisStorage
from stage import eventually

class Paid(Workflow):
    unique = Unique("paid")
    initial_step = WaitForEvent, {"event_name": "paid"}
    transitions = {(WaitForEvent, "received"): Done}

namespace = sys.argv[3]
def runtime(name):
    return Hephaestus(storage=RedisStorage(sys.argv[1], namespace=namespace, options={"client_name": name}), runner=LocalRunner(), name=name)

def opened():
    return sum(each["name"] == namespace for each in storage._client.client_list())

def subscribed():
    found = [int(each["sub"]) for each in storage._client.client_list() if each["name"] == namespace]
    return [channels for channels in found if channels]

worker, waiting = runtime(f"{namespace}-worker"), runtime(namespace)
waiting._reading = Turns(60)  # reading all of them may take a slow machine longer than anybody waits for a turn
storage = worker.storage
handles = [worker.start_instance(Paid, {}, id=str(number)) for number in range(count)]
eventually(lambda: all(handle.get().waiting_steps for handle in handles), what="all wait for an event")
waits = [spawn(waiting.wait, handle.run_id, 60) for handle in handles]
eventually(lambda: len(getattr(waiting.storage._waits._listener, "_waiters", ())) == count, what="all are waited for")
eventually(lambda: [channels >= count for channels in subscribed()] == [True], what="one has subscribed to all")
print(opened(), end=" ")
storage._connections.call_many([["HSET", storage.keys.of_run(handle.run_id).run, "st", "cancelled"] for handle in handles], fits=lambda _: True)
storage._connections.call_many([["PUBLISH", storage.keys.of_run(handle.run_id).finished, "cancelled"] for handle in handles], fits=lambda _: True)
print(sum(getattr(wait, get)().status == "cancelled" for wait in waits), opened())
worker.close()
"""


@pytest.mark.parametrize("kind", ["threads", "gevent", "eventlet"])
def test_a_crowd_of_waits_that_begin_and_end_at_once_opens_three_connections(kind, redis_url, namespace):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CROWD, redis_url, kind, namespace],
        env={**environment, "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    begun, ended, opened = map(int, ran.stdout.split())
    assert ended == (300 if kind == "threads" else 1000)
    assert max(begun, opened) <= 3, (begun, opened)
