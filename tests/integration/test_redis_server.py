"""The server: partitions, clusters, outages, and how often it is called."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from datetime import timedelta

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as LostConnectionError
from stillness import Stillness

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.embedded import find_server
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.scripts import Scripts
from hephaestus_celery.storage.redis.store import RedisStorage

SILENCE = timedelta(seconds=0.3)


def whole_story(stand):
    """Every operation of the port at least once; gives the ids of the runs."""
    runs = [stand.start(tags=("fast",), instance_id=f"order::{number}") for number in range(20)]
    first, second, third, *_ = runs
    first.deliver("go", keep=True)
    first.wait_at("a")
    first.step("a", result='{"n":1}')
    first.step("b")
    second.claim("a", predecessors=[])
    second.fail("a")
    third.wait_at("a")
    third.deliver("go")
    third.cancel("enough")
    storage = stand.storage
    assert [run.load().status for run in (first, second, third)] == [Status.COMPLETED, Status.FAILED, Status.CANCELLED]
    assert storage.candidates("order::0", family=None).newest == first.id
    assert len(first.history()) == 4
    assert storage.wait_finished(first.id, timeout=0)
    assert len(storage.list_runs(Query(tag="fast"))[0]) == len(runs)
    return [run.id for run in runs]


def test_several_partitions_hold_runs_side_by_side(redis_url, namespace, redis_storage, drive, client):
    storage = RedisStorage(redis_url, namespace=namespace, partitions=4)
    whole_story(drive(storage))
    used = {key.decode().split(":")[1] for key in client.scan_iter(f"{namespace}:*:run:*", count=1000)}
    assert used == {"{0}", "{1}", "{2}", "{3}"}
    storage.close()


def test_a_listing_merges_the_partitions_page_by_page(redis_url, namespace, redis_storage, drive):
    storage = RedisStorage(redis_url, namespace=namespace, partitions=4)
    ids = whole_story(drive(storage))
    listed, cursor, sizes = [], None, []
    while True:
        page, cursor = storage.list_runs(Query(limit=6, cursor=cursor))
        listed.extend(run_id for run_id, _ in page)
        sizes.append(len(page))
        if cursor is None:
            break
    assert (listed, sizes) == (ids[::-1], [6, 6, 6, 2])
    storage.close()


@pytest.fixture(scope="module")
def cluster_url(private_server, tmp_path_factory):
    """A cluster of one node: it refuses what touches more than one hash slot."""
    folder = tmp_path_factory.mktemp("cluster")
    port = free_port()
    server = subprocess.Popen(
        [
            *(str(find_server()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""),
            *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        with Redis(port=port) as client:
            eventually(client.ping)
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def eventually(condition):
    """Wait for a server that can't say when it is ready."""
    deadline = time.monotonic() + 20
    while True:
        try:
            if condition():
                return
        except LostConnectionError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_every_script_keeps_to_one_slot_of_a_cluster(cluster_url, namespace, drive):
    storage = RedisStorage(cluster_url, namespace=namespace, partitions=4)
    ids = whole_story(drive(storage))
    assert len(storage.list_runs(Query())[0]) == len(ids)
    storage.close()


def storage_at(url):
    return RedisStorage(url, timeout=SILENCE)


def calls(storage, drive):
    run = drive(storage).prepare()
    return {
        "now": storage.now,
        "create": lambda: storage.create(run.new),
        "load": run.load,
        "history": run.history,
        "list_runs": lambda: storage.list_runs(Query()),
        "wait_finished": lambda: storage.wait_finished(run.id, timeout=60),
    }


@pytest.mark.parametrize("name", ["now", "create", "load", "history", "list_runs", "wait_finished"])
def test_a_closed_port_is_a_storage_error_at_once(name, drive):
    storage = RedisStorage(f"redis://127.0.0.1:{free_port()}/0")
    call = calls(storage, drive)[name]
    with Stillness() as waited, pytest.raises(StorageError, match="hephaestus_state_backend"):
        call()
    assert waited.seconds < 5
    storage.close()


@pytest.mark.parametrize("name", ["create", "wait_finished"])
def test_a_server_that_never_answers_is_a_storage_error_after_the_time_limit(name, drive):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        storage = RedisStorage(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=SILENCE)
        call = calls(storage, drive)[name]
        with Stillness() as waited, pytest.raises(StorageError):
            call()
        # Not once per nested attempt of the client: with the default time limit of 2 s that would be 18 s.
        assert waited.seconds < 2.5 * SILENCE.total_seconds()
        storage.close()


def test_a_server_that_goes_and_comes_back_is_used_again(private_server, namespace, drive):
    storage = RedisStorage(private_server.url, namespace=namespace, timeout=SILENCE)
    run = drive(storage).start()
    private_server.stop()
    with pytest.raises(StorageError):
        run.load()
    private_server.start()
    assert run.step("a").activated == ["b"]
    storage.close()


def test_an_operation_is_one_script_call(private_server, namespace, drive):
    storage = RedisStorage(private_server.url, namespace=namespace)
    client = connect(private_server.url, timeout=timedelta(seconds=2), options={})
    whole_story(drive(storage))  # the server knows the scripts from here on
    run, other, third = (drive(storage).start(instance_id=f"count::{number}") for number in range(3))
    operations = [
        lambda: drive(storage).start(instance_id="count::9"),
        lambda: run.claim("a"),
        lambda: run.complete("a"),
        lambda: run.claim("b"),
        lambda: run.suspend("b"),
        lambda: run.deliver("go"),
        lambda: other.claim("a"),
        lambda: other.fail("a"),
        third.cancel,
        run.load,
        lambda: storage.candidates("count::0", family=None),
        lambda: storage.list_runs(Query()),
    ]
    for operation in operations:
        client.config_resetstat()
        operation()
        stats = client.info("commandstats")
        assert (stats["cmdstat_evalsha"]["calls"], "cmdstat_eval" in stats) == (1, False)
    client.close()
    storage.close()


def test_the_scripts_use_only_what_redis_6_2_knows():
    known = {
        *(
            "DEL",
            "EXISTS",
            "GET",
            "HDEL",
            "HGET",
            "HGETALL",
            "HINCRBY",
            "HEXISTS",
            "HKEYS",
            "HSTRLEN",
            "HLEN",
            "HMGET",
            "HSCAN",
            "HSET",
            "LLEN",
            "LPUSH",
            "LRANGE",
            "LTRIM",
            "MGET",
            "PERSIST",
            "PEXPIRE",
            "PTTL",
        ),
        *(
            "PUBLISH",
            "RPUSH",
            "SADD",
            "SCARD",
            "SET",
            "SISMEMBER",
            "SREM",
            "SSCAN",
            "TIME",
            "UNLINK",
            "ZADD",
            "ZCOUNT",
            "ZCARD",
            "ZRANK",
            "ZRANGE",
            "ZREM",
            "ZREVRANGE",
            "ZREVRANGEBYSCORE",
            "ZSCORE",
        ),
        *("XACK", "XADD", "XAUTOCLAIM", "XGROUP", "XINFO", "XPENDING", "XRANGE", "XREADGROUP", "XREVRANGE"),
    }
    used = {name for source in Scripts().sources.values() for name in re.findall(r"p?call\(\s*'([A-Z]+)'", source)}
    assert used <= known


def test_the_scripts_are_lua_5_1():
    for name, source in Scripts().sources.items():
        code = re.sub(r"--[^\n]*", "", source)
        assert not re.search(r"table\.unpack|table\.pack|//|\bgoto\b|<const>|utf8\.|math\.type|~=\s*nil\s*&", code), (
            name
        )


def test_a_value_outside_utf8_is_refused_or_kept_but_never_breaks_a_run(redis_storage, drive):
    run = drive(redis_storage).start(initial='{"lone":"\\ud800","zero":"\\u0000"}')
    run.step("a", result='{"lone":"\\ud800"}')
    assert run.load().results == {"a": '{"lone":"\\ud800"}'}


def test_what_is_due_does_not_wait_for_what_large_runs_have_left(stand):
    branches = [f"b{number}" for number in range(450)]
    edges = {("a", "ok"): branches, **{(branch, "ok"): ["done"] for branch in branches}}
    for number in range(20):
        run = stand.start(edges, instance_id=f"order::{number}")
        run.step("a")
        run.cancel()
    waiting = stand.start(instance_id="order::last")
    waiting.wait_at("a", timeout=0)
    entries, ticks = [], 0
    while not entries:
        entries, ticks = stand.tick().entries, ticks + 1
    assert ticks <= 1 + 20 // 3  # behind one slice of each of them
    while stand.tick().more:
        pass
    assert waiting.due().keys() == {"a"}


def test_the_newest_run_of_an_id_is_found_behind_thousands_that_are_gone_or_of_another_workflow(stand):
    storage = stand.storage
    wanted = stand.start()
    wanted.cancel()
    other = stand.start(name="shop.Other")
    other.cancel()
    index = f"{storage.keys.of_instance('order::a')}index:id:order::a"
    client, at = storage._client, storage._client.zscore(index, other.id)
    names = [f"{other.id[:-6]}{number:06x}" for number in range(1700)]
    client.zadd(index, {name: at + number // 100 for number, name in enumerate(names)})
    for name in names[:400]:
        client.copy(storage.keys.of_run(other.id).run, storage.keys.of_run(name).run)
    assert storage.candidates("order::a", family="shop.Order").newest == wanted.id
    assert storage.candidates("order::a", family=None).newest == names[399]
    assert client.zcard(index) == 402
