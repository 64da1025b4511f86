"""A failover: Sentinels promote a replica, and runs go on there, with their state and their messages."""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import time
from contextlib import ExitStack
from datetime import timedelta

import flows
import pytest
from heart import LONGEST_GAP, Heart
from redis import Redis
from redis.exceptions import RedisError
from stage import eventually

from hephaestus_celery import StorageError
from hephaestus_celery.embedded import find_server
from hephaestus_celery.storage.redis.store import RedisStorage

OPTIONS = {"master_name": "main"}
SILENCE = timedelta(seconds=0.6)
SOON, LATE = 300, 60_000
"""After so many milliseconds of silence a Sentinel counts a server as down: one that is killed, and one that is busy."""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Watched:
    """A primary, its replica, and three Sentinels that watch them; each a process."""

    def __init__(self, folder):
        self.folder, self.processes = folder, {}
        self.primary, self.replica = free_port(), free_port()
        self.start_server(self.primary)
        self.start_server(self.replica, "--replicaof", "127.0.0.1", str(self.primary))
        eventually(lambda: self.info(self.replica).get("master_link_status") == "up", what="the replica has its copy")
        sentinels = {free_port(): secrets.token_hex(20) for _ in range(3)}
        for port in sentinels:
            self.start_sentinel(port, sentinels)
        self.sentinels = list(sentinels)
        self.url = ";".join(f"sentinel://127.0.0.1:{port}" for port in sentinels)

    def start_server(self, port, *options):
        folder = self.folder / str(port)
        folder.mkdir()
        common = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "")
        self.start(port, *common, "--repl-diskless-sync-delay", "0", *options)

    def start_sentinel(self, port, sentinels):
        others = [
            f"sentinel known-sentinel main 127.0.0.1 {other} {name}"
            for other, name in sentinels.items()
            if other != port
        ]
        lines = [
            *(f"port {port}", "bind 127.0.0.1", f"dir {self.folder}", f"sentinel myid {sentinels[port]}"),
            f"sentinel monitor main 127.0.0.1 {self.primary} 2",
            *(f"sentinel down-after-milliseconds main {LATE}", "sentinel failover-timeout main 3000"),
            *(f"sentinel known-replica main 127.0.0.1 {self.replica}", *others),
        ]
        file = self.folder / f"{port}.conf"
        file.write_text("\n".join(lines))
        self.start(port, str(file), "--sentinel")

    def start(self, port, *arguments):
        with (self.folder / f"{port}.log").open("wb") as log:
            self.processes[port] = subprocess.Popen([str(find_server()), *arguments], stdout=log, stderr=log)
        eventually(lambda: self.info(port), what=f"{port} answers")

    def info(self, port):
        """The information of a server or a Sentinel about itself; empty while it is away."""
        try:
            with Redis(port=port, socket_timeout=5) as client:
                return client.info()
        except RedisError:
            return {}

    def lose_primary(self):
        """Kill the primary once the replica has everything, and wait until all Sentinels name the replica."""
        with Redis(port=self.primary) as client:
            client.set("mark", 1)  # what is waited for are the writes of the same connection
            assert client.wait(1, 10_000) == 1
        self.processes[self.primary].kill()
        self.processes[self.primary].wait()
        self.count_as_down(SOON)
        self.await_promotion()
        self.count_as_down(LATE)
        self.await_promotion()

    def count_as_down(self, after):
        """Tell the Sentinels after how many milliseconds of silence a server is down."""
        for sentinel in self.sentinels:
            with Redis(port=sentinel, socket_timeout=5) as client:
                client.execute_command("SENTINEL", "SET", "main", "down-after-milliseconds", after)

    def await_promotion(self):
        """Wait until all Sentinels name the replica, and count it as up."""
        promoted = {"status": "ok", "address": f"127.0.0.1:{self.replica}"}
        for sentinel in self.sentinels:
            eventually(
                lambda port=sentinel: promoted.items() <= self.info(port).get("master0", {}).items(),
                timeout=120,
                what="a new primary",
            )

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def watched(redis_url, tmp_path):
    servers = Watched(tmp_path)
    yield servers
    servers.close()


@pytest.fixture
def stage(watched, open_stage):
    """Broker and state on what the Sentinels name."""
    stage = open_stage(broker=watched.url, state=watched.url, state_options=OPTIONS, dispatch_timeout=2.0)
    stage.settings["broker_transport_options"] = OPTIONS
    stage.app.conf.broker_transport_options = OPTIONS
    return stage


def test_a_run_goes_on_after_a_failover_of_store_and_broker(stage, watched):
    stage.start_workers(1)
    held = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate")}, id="held")
    eventually(stage.executions, what="a step is being executed")
    waiting = stage.hephaestus.start_instance(flows.Payment, {"value": 1}, id="waiting")
    eventually(lambda: waiting.get().status == "waiting", what="the other run waits")
    watched.lose_primary()
    (stage.folder / "gate").touch()
    waiting.resume("paid", {"amount": 3})
    fresh = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="fresh")
    assert [stage.outcome(handle).status for handle in (held, waiting, fresh)] == ["completed"] * 3
    committed = [entry.step for entry in held.history() if entry.outcome == "completed"]
    assert committed == ["gate", "b", "done"]


def test_a_wait_on_an_event_loop_goes_on_after_a_failover(watched, drive):
    storage = RedisStorage(watched.url, options=OPTIONS)
    run = drive(storage).start()

    async def wait():
        calls = storage.aio()
        async with Heart() as heart:
            waits = [asyncio.create_task(calls.wait_finished(run.id, timeout=60)) for _ in range(10)]
            assert (await calls.load(run.id)).status == "pending"
            await asyncio.to_thread(watched.lose_primary)
            again = [asyncio.create_task(calls.wait_finished(run.id, timeout=60)) for _ in range(10)]
            assert (await calls.load(run.id)).status == "pending"
            await asyncio.to_thread(run.cancel)
            assert await asyncio.gather(*again) == [True] * 10
            ended = await asyncio.gather(*waits, return_exceptions=True)
        return ended, heart.busy

    ended, busy = asyncio.run(wait())
    assert busy < LONGEST_GAP
    # One that subscribes only after the failover is told of the end as those are.
    assert all(each is True or isinstance(each, StorageError) for each in ended)
    storage.close()


@pytest.fixture(params=["blocking", "on an event loop"])
def ask(request):
    """``ask(storage)``: one call."""
    return (lambda storage: storage.now()) if request.param == "blocking" else lambda s: asyncio.run(asked(s.aio()))


async def asked(calls):
    async with Heart() as heart:
        try:
            return await calls.now()
        finally:
            assert heart.busy < LONGEST_GAP
            assert heart.still < SILENCE.total_seconds() / 2


def test_without_a_primary_a_call_is_a_storage_error_that_names_it(ask):
    storage = RedisStorage(f"sentinel://127.0.0.1:{free_port()};sentinel://127.0.0.1:{free_port()}", options=OPTIONS)
    with pytest.raises(StorageError, match="no Sentinel names a primary 'main'"):
        ask(storage)
    storage.close()


def test_silent_sentinels_are_a_storage_error_after_the_time_limit(ask):
    with ExitStack() as silent:
        ports = [silent.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)]
        url = ";".join(f"sentinel://127.0.0.1:{port}" for port in ports)
        storage = RedisStorage(url, timeout=SILENCE, options=OPTIONS)
        began = time.monotonic()
        with pytest.raises(StorageError):
            ask(storage)
        assert time.monotonic() - began < 2.5 * SILENCE.total_seconds()
        storage.close()
