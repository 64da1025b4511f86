"""A server that replies with a refusal: callers get an error soon that says what to do, and nothing is half done."""

from __future__ import annotations

import subprocess
import threading
from datetime import timedelta

import flows
import pytest
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import MovedError, ResponseError
from stage import Stage, eventually
from stillness import Stillness

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.embedded import EmbeddedServer, find_server
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.errors import explain
from hephaestus_celery.storage.redis.store import RedisStorage

TIMEOUT = timedelta(seconds=20)  # of a client for a server that does not reply; a refusal takes no time


@pytest.fixture
def storage(private_server, namespace):
    storage = RedisStorage(private_server.url, namespace=namespace, timeout=TIMEOUT)
    yield storage
    storage.close()


@pytest.fixture
def stand(storage, drive):
    return drive(storage)


@pytest.fixture
def configured(admin):
    """`configured(name=value)`: a server set differently for this test."""
    before = {}

    def configure(**settings):
        for name, value in {name.replace("_", "-"): value for name, value in settings.items()}.items():
            before.setdefault(name, admin.config_get(name)[name])
            admin.config_set(name, value)

    yield configure
    for name, value in before.items():
        admin.config_set(name, value)


def refusal(call):
    """What a call says that is refused at once."""
    with Stillness() as waited, pytest.raises(StorageError) as raised:
        call()
    assert waited.seconds < TIMEOUT.total_seconds() / 2
    return str(raised.value)


def contents(admin, namespace):
    return {key: admin.dump(key) for key in admin.scan_iter(f"{namespace}:*", count=1000)}


def first_of_many(found):
    """What became of the first; a refusal is raised."""
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def prepared(stand):
    """A run in the midst of things, and each way to change it."""
    edges = {("a", "ok"): ["b", "c", "d", "e"], **{(key, "ok"): ["done"] for key in "bcde"}}
    run = stand.start(edges)
    run.step("a")
    for key in "bc":
        run.claim(key, holder="task")
    run.wait_at("d")
    fresh, other = (stand.prepare(instance_id=f"order::{name}") for name in "bc")
    return {
        "create": lambda: stand.storage.create(fresh.new),
        "create_many": lambda: first_of_many(stand.storage.create_many([fresh.new, other.new])),
        "claim": lambda: run.claim("e"),
        "complete": lambda: run.complete("b"),
        "suspend": lambda: run.suspend("b"),
        "retry": lambda: run.retry("b"),
        "fail": lambda: run.fail("b"),
        "renew": lambda: run.renew("b"),
        "seize": lambda: run.seize("b", holder="task"),
        "deliver": run.deliver,
        "schedule": lambda: run.schedule("d"),
        "cancel": run.cancel,
        "tick": stand.tick,
    }


@pytest.mark.parametrize(
    "name",
    [
        *("create", "create_many", "claim", "complete", "suspend", "retry", "fail"),
        *("renew", "seize", "deliver", "schedule", "cancel", "tick"),
    ],
)
def test_a_full_memory_refuses_a_change_whole(stand, admin, namespace, configured, name):
    change = prepared(stand)[name]
    before = contents(admin, namespace)
    configured(maxmemory="1", maxmemory_policy="noeviction")
    assert "its memory is full" in refusal(change)
    assert contents(admin, namespace) == before


def test_a_full_memory_can_be_read(stand, storage, configured):
    run = stand.start()
    configured(maxmemory="1", maxmemory_policy="noeviction")
    assert (run.load().status, run.history(), len(storage.list_runs(Query())[0])) == ("pending", [], 1)


def test_a_full_memory_lets_a_run_begin_and_refuses_what_comes_of_it(stand, configured):
    run = stand.start()
    configured(maxmemory="1", maxmemory_policy="noeviction")
    run.claim("a")
    assert run.load().status == "running"
    assert "its memory is full" in refusal(lambda: run.complete("a"))


def test_what_was_refused_is_applied_when_there_is_room_again(stand, configured):
    run = stand.start()
    run.claim("a")
    configured(maxmemory="1", maxmemory_policy="noeviction")
    refusal(lambda: run.complete("a"))
    configured(maxmemory="0")
    assert run.complete("a").verdict is Verdict.APPLIED


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_an_eviction_of_what_has_a_lifetime_spares_active_runs(stand, admin, namespace, configured, policy):
    active, finished = (stand.start(instance_id=f"order::{name}") for name in ("a", "f"))
    active.step("a")
    finished.cancel()
    kept = {key for key in contents(admin, namespace) if active.id.encode() in key}
    configured(maxmemory="1", maxmemory_policy=policy)
    eventually(lambda: refusal(lambda: stand.start(instance_id="order::x")) and finished.load() is None)
    assert kept <= set(contents(admin, namespace))
    configured(maxmemory="0")
    assert active.step("b").status_after == "completed"


@pytest.fixture
def replica(admin):
    """The server has become a replica, of a primary that is away."""
    admin.replicaof("127.0.0.1", 1)
    yield
    admin.replicaof("NO", "ONE")


def test_a_replica_refuses_changes_and_can_be_read(stand, admin):
    run = stand.start()
    admin.replicaof("127.0.0.1", 1)
    try:
        assert "it is a replica" in refusal(lambda: run.claim("a"))
        assert run.load().status == "pending"
    finally:
        admin.replicaof("NO", "ONE")
    assert run.step("a").activated == ["b"]


def test_after_a_failover_the_name_is_looked_up_anew(private_server, replica, namespace, tmp_path, drive):
    name = tmp_path / "name"
    name.symlink_to(private_server.socket_path)
    storage = RedisStorage(f"redis+socket://{name}?virtual_host=0", namespace=namespace, timeout=TIMEOUT)
    assert "it is a replica" in refusal(drive(storage).start)
    with EmbeddedServer() as promoted:
        name.unlink()
        name.symlink_to(promoted.socket_path)
        assert drive(storage).start().load().status == "pending"
    storage.close()


def test_a_replica_without_its_primary_may_refuse_all(stand, storage, replica, configured):
    configured(replica_serve_stale_data="no")
    assert "whose primary is away" in refusal(stand.start)
    assert "whose primary is away" in refusal(lambda: storage.list_runs(Query()))


def test_a_primary_that_lost_its_replicas_may_refuse_changes(stand, configured):
    configured(min_replicas_to_write="1")
    assert "min-replicas-to-write" in refusal(stand.start)


def test_a_missing_password_says_where_it_belongs(stand, admin, private_server, namespace, configured):
    configured(requirepass="sesame")
    stranger = RedisStorage(private_server.url, namespace=namespace, timeout=TIMEOUT)
    assert "redis://user:password@host" in refusal(stranger.now)
    stranger.close()


def test_a_wrong_password_says_where_it_belongs(private_server, namespace):
    stranger = RedisStorage(private_server.url.replace("://", "://nobody:wrong@"), namespace=namespace, timeout=TIMEOUT)
    assert "redis://user:password@host" in refusal(stranger.now)
    stranger.close()


def test_a_server_that_is_kept_busy_by_a_script_says_so(stand, admin, private_server, namespace, configured):
    configured(lua_time_limit="10")
    other = RedisStorage(private_server.url, namespace=namespace, timeout=TIMEOUT)

    def work():
        with pytest.raises(ResponseError, match="killed"):
            other._client.eval("while true do end", 0)

    busy = threading.Thread(target=work)
    busy.start()
    try:
        message = eventually(lambda: refusal_or_none(stand.start))
        assert "somebody's script keeps it busy" in message
    finally:
        admin.script_kill()
        busy.join()
        other.close()


def refusal_or_none(call):
    try:
        call()
    except StorageError as error:
        return str(error)
    return None


@pytest.fixture
def loading(private_server, tmp_path):
    """A server that reads its data back, for as long as the test takes."""
    with EmbeddedServer(tmp_path / "data") as server:
        storage = RedisStorage(server.url)
        storage._client.mset({f"filler{number}": "x" * 1000 for number in range(5000)})
        storage._client.save()
        storage.close()
        server.stop()
        socket_path = server.socket_path
        process = subprocess.Popen(
            [
                *(str(find_server()), "--port", "0", "--unixsocket", str(socket_path), "--dir", str(server.folder)),
                *("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            eventually(socket_path.exists)
            yield server.url
        finally:
            process.kill()
            process.wait()


def test_a_server_that_reads_its_data_says_wait(loading):
    storage = RedisStorage(loading, timeout=TIMEOUT)
    assert "it has just started and reads its data; wait" in refusal(lambda: storage.list_runs(Query()))
    storage.close()


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ("@user_script: 42: -OOM command not allowed when used memory > 'maxmemory'.", "its memory is full"),
        ("@user_script: 205: -READONLY You can't write against a read only replica.", "it is a replica"),
        ("@user_script: 189: The user executing the script can't run this command or subcommand", "lacks a right"),
        ("@user_script: 189: The user executing the script can't access at least one of the keys", "lacks a right"),
    ],
)
def test_what_redis_6_wraps_is_known_all_the_same(answer, advice):
    assert advice in explain(ResponseError(f"Error running script (call to f_9688d5621ccdf): {answer}"))


def test_a_node_of_a_cluster_that_has_not_all_keys_says_so():
    assert "has only some of the keys" in explain(MovedError("13907 127.0.0.1:7001"))


def test_a_name_with_tls_in_it_is_no_matter_of_certificates():
    text = explain(LostConnectionError("Error 111 connecting to redis-tls.internal:6380. Connection refused."))
    assert "ssl_ca_certs" not in text


def test_an_error_that_is_not_known_is_shown_as_it_is():
    assert explain(ResponseError("DB index is out of range")) == (
        "the state store refused (ResponseError: DB index is out of range)"
    )


def test_a_run_pauses_while_the_memory_is_full(private_server, admin, namespace, tmp_path, configured):
    with EmbeddedServer() as broker:
        stage = Stage(broker=broker.url, state=private_server.url, namespace=namespace, folder=tmp_path, lease=20.0)
        try:
            [worker] = stage.start_workers(1)
            handle = stage.hephaestus.start_instance(flows.Gated, {"gate": str(tmp_path / "gate")}, id="x1")
            eventually(stage.executions, what="the step is being executed")
            configured(maxmemory="1", maxmemory_policy="noeviction")
            (tmp_path / "gate").touch()
            eventually(lambda: "its memory is full" in worker.log.read_text(), what="the worker has noticed")
            assert "its memory is full" in refusal(lambda: stage.hephaestus.start_instance(flows.Linear, {}, id="x2"))
            configured(maxmemory="0")
            assert stage.outcome(handle).status == "completed"
            assert [record["step"] for record in stage.executions()] == ["gate", "b"]
        finally:
            stage.close()
            print(stage.logs()[-3000:])
