"""The rights of the store's user, as the guide prints them: enough for everything, and for nothing else."""

from __future__ import annotations

import json
import re
import shlex
import threading
from dataclasses import replace

import flows
import pytest
from stage import Stage

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.exceptions import AlreadyRunningError, StorageError
from hephaestus_celery.storage.queries import DataKind, Query
from hephaestus_celery.storage.redis.scripts import Scripts
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.storage.schema import EDGES, SCHEMA
from hephaestus_celery.testing.conformance.driven_values import DURATIONS
from hephaestus_celery.testing.conformance.trips import failing

OUTSIDE_SCRIPTS = {
    *("zcard", "zmscore"),
    *("xrange", "xrevrange", "xread", "xack", "hdel", "hset"),
    *("evalsha", "eval", "time", "hget", "hmget", "hscan", "lrange", "get", "del", "subscribe", "unsubscribe"),
    *("ping", "select", "client|setinfo"),  # the client's own: health checks, databases, its name
}
OF_A_BROKER = {"lpush"}  # where the broker's user and the store's are one


@pytest.fixture(scope="session")
def rights(guide):
    """The arguments of each `ACL SETUSER` in the guide, by user."""
    lines = map(shlex.split, re.findall(r"^ACL SETUSER (.+)$", guide, re.MULTILINE))
    return {name: rules for name, *rules in lines}


@pytest.fixture
def url_of(private_server, admin, rights, namespace):
    """`url_of(user)`: the server's address for a user of the guide, in the namespace of this test."""
    made = []

    def create(name):
        rules = [rule.replace("shop", namespace) for rule in rights[name]]
        if admin.info("server")["redis_version"].startswith("7.0."):  # the guide says so
            rules = [rule for rule in rules if rule != "+client|setinfo"]
        admin.execute_command("ACL", "SETUSER", name, "reset", *rules, ">secret")
        made.append(name)
        return private_server.url.replace("://", f"://{name}:secret@")

    admin.acl_log_reset()
    yield create
    for name in made:
        admin.acl_deluser(name)


@pytest.fixture
def user_url(url_of):
    """The server's address for the user of the state store."""
    return url_of("shop-state")


@pytest.fixture
def storage(user_url, namespace):
    storage = RedisStorage(user_url, namespace=namespace)
    yield storage
    storage.close()


def refused(admin):
    """What the server has refused to the user."""
    return [(entry["reason"], entry["object"]) for entry in admin.acl_log() if entry["username"] != "default"]


def made_again(stand):
    """A run is made of another, which is held as it is for one of another partition."""
    run = stand.start({("a", "ok"): [f"b{number}" for number in range(600)]}, instance_id="order::again")
    run.step("a")
    run.cancel()
    again = run.retried()
    assert len(again.dispatched) == 600
    again.cancel()
    held = json.dumps({"run_id": run.id, "copy": again.id, "reads": SCHEMA})
    assert run.storage._calls.of_run("hold", run.id, held) == [b"held"]


def every_operation(stand, storage):
    """Each operation of the port."""
    edges = {
        ("a", "ok"): ["b", "c", "e"],
        ("e", "ok"): ["d"],
        ("b", "ok"): ["d"],
        ("c", "ok"): ["d"],
        ("d", "ok"): ["done"],
    }
    run = stand.start(edges, tags=("fast",))
    with pytest.raises(AlreadyRunningError):
        stand.start()
    run.step("a", result='{"n":1}')
    run.step("e", result='"' + "x" * 100_000 + '"')
    run.claim("b", holder="task")
    run.retry("b")
    assert [entry.kind for entry in stand.entries()] == ["retry"]
    run.claim("b", 2, holder="task", predecessors=["a"])
    assert run.renew("b")
    assert run.seize("b", 2, holder="task")
    run.complete("b")
    run.claim("c")
    run.suspend("c", timeout=60_000_000)
    run.schedule("c", delay=60_000_000)
    assert run.unschedule("c")
    run.deliver(data='"' + "x" * 2000 + '"')
    run.step("c")
    waited = threading.Thread(target=storage.wait_finished, args=(run.id,), kwargs={"timeout": 20})
    waited.start()
    run.step("d")
    waited.join()
    failed, cancelled = (stand.start(instance_id=f"order::{name}") for name in ("f", "c"))
    failed.claim("a")
    failed.fail("a")
    cancelled.cancel()
    wide = stand.start({("a", "ok"): [f"b{number}" for number in range(600)]}, instance_id="order::w")
    wide.step("a")
    assert storage.settle(wide.id, Activation("a"), durations=DURATIONS).verdict == "stale"
    wide.cancel()
    lost = stand.start(instance_id="order::l", lane="0:work")
    assert storage.outstanding("0:work") == 1
    assert [entry.kind for entry in lost.resend("a")] == ["redispatch"]
    lost.redirect("a", token=2, lane="0:other")
    assert storage.outstanding("0:other") == 1
    lost.cancel()
    storage.report("w1", "{}", lifetime=60_000_000)
    assert list(storage.reports()) == ["{}"]
    other = storage.separate()
    assert other.await_due(timeout=0) is True
    other.close()
    storage.resign(owner="owner")
    assert len(storage.list_runs(Query(tag="fast"))[0]) == storage.count_runs(Query(tag="fast")) == 1
    assert storage.candidates("order::a", family=None).newest == run.id
    assert run.history(after=1)
    assert storage.read_initial(run.id)
    assert storage.read_data(run.id, DataKind.RESULT, ["a"]) == {"a": '{"n":1}'}
    assert len(storage.read_states(run.id)) == len(storage.read_states(run.id, ["a", "b", "c", "d", "e", "done"])) == 6
    return [run.load().status, wide.load().status, failed.delete(), cancelled.delete()]


def every_undoing(stand, storage):
    """A step is executed in rounds, and a run undoes what it has completed; a large run drops the rest of its steps in slices."""
    polls = stand.start(instance_id="order::r")
    polls.rounds("a", 101)
    assert polls.history(after=1)
    polls.cancel()
    failed = failing(stand, instance_id="order::u")
    failed.fail("c")
    for compensation in ("undo_b", "undo_a"):
        failed.step(compensation)
    assert failed.load().status is Status.FAILED
    wide = stand.start(
        {("a", "ok"): [f"b{number}" for number in range(450)]},
        instance_id="order::v",
        compensations={"a": "undo_a"},
        schema=EDGES,
    )
    wide.step("a")
    wide.cancel(compensate=True)
    while storage.undo(wide.id, durations=DURATIONS).verdict is Verdict.APPLIED:
        pass
    assert wide.claim("undo_a").attempt is not None
    wide.cancel()


def every_pause(stand, storage):
    """A run and its workflow are paused, and go on."""
    run = stand.start(instance_id="order::p", lane="0:work")
    run.pause()
    stand.pause_workflow()
    assert list(storage.paused_workflows()) == ["shop.Order"]
    assert run.claim("a").reason == "paused"
    run.unpause()
    stand.unpause_workflow()
    assert [entry.run_id for entry in stand.entries()] == [run.id]
    run.cancel()


def every_operation_of_the_stream(stand, storage):
    told = stand.start(instance_id="order::t", durations=replace(DURATIONS, stream=1000))
    told.claim("a")
    told.cancel()
    who = {"group": "g", "consumer": "one", "limit": 10}
    entries = storage.read_events(0, **who).entries
    assert len(entries) == len(storage.read_events(0, after="0-0", **who).entries) == 2
    assert len(storage.take_over_events(0, idle=0, start="0-0", **who).entries) == 2
    newest = storage.browse_events(0, after=None, limit=1).newest
    assert not storage.await_events(0, newest=newest, timeout=0.01)
    storage.acknowledge_events_in_part(0, group="g", id=entries[0].id, places=[0])
    storage.acknowledge_events(0, group="g", ids=[entry.id for entry in entries])
    storage.leave_events(0, group="g", consumer="one")
    storage._client.hset(f"{storage.keys.partition(0)}events:used", mapping={"g": 1, "h": 1})
    for group in ("h", "g"):  # one is forgotten by the reader of the other
        storage.read_events(0, **{**who, "group": group})


def every_call_about_many(stand, storage):
    runs = [stand.prepare(instance_id=f"order::m{number}").new for number in range(3)]
    assert [len(made) for made in storage.create_many(runs)] == [1, 1, 1]
    ids = [run.run_id for run in runs]
    ended = {"operation": "many", "reason": None, "entry": "{}", "durations": DURATIONS}
    assert len(storage.cancel_many(ids, **ended)) == 3
    assert storage.delete_many(ids, operation="gone") == [None, None, None]


def every_look_of_the_command_line(stand, storage):
    run = stand.start(instance_id="order::look", lane="0:work")
    assert storage.runs_beginning_with(run.id[:20], limit=10) == [run.id]
    assert list(storage.due_times([(run.id, Activation("a"))])) == [None]
    assert storage.facts(run.id, [Activation("a")]) is not None
    found = storage.examination()
    assert found.runs().kinds["shop.Order", 1, "pending"] == 1 == found.active_runs().kinds["shop.Order", 1, "pending"]
    assert [scheduler.partition for scheduler in found.schedulers()] == [0]
    assert found.recent(seconds=60).started
    assert found.oldest_waiting() is None
    run.cancel()


def test_the_user_of_the_guide_can_do_all_that_the_store_does(storage, drive, admin):
    admin.script_flush()
    stand = drive(storage)
    assert every_operation(stand, storage) == [Status.COMPLETED, Status.CANCELLED, None, None]
    made_again(stand)
    every_undoing(drive(storage), storage)
    every_pause(stand, storage)
    every_operation_of_the_stream(drive(storage), storage)
    every_look_of_the_command_line(drive(storage), storage)
    every_call_about_many(drive(storage), storage)
    assert refused(admin) == []
    hashes = Scripts()._hashes
    loaded = dict(zip(hashes, admin.script_exists(*hashes.values()), strict=True))
    assert [script for script in loaded if not loaded[script]] == []


def test_the_user_has_no_command_that_is_not_used(rights):
    inside = {
        name.lower() for source in Scripts().sources.values() for name in re.findall(r"p?call\(\s*'([A-Z]+)'", source)
    }
    given = {right[1:] for right in rights["shop-state"] if right.startswith("+")}
    assert given == (inside | OUTSIDE_SCRIPTS) - OF_A_BROKER


def test_another_database_is_reached_too(user_url, namespace, drive, admin):
    storage = RedisStorage(user_url.replace("virtual_host=0", "virtual_host=3"), namespace=namespace)
    drive(storage).start()
    assert refused(admin) == []
    storage.close()


@pytest.mark.parametrize(
    "command",
    [
        *(["GET", "other:x"], ["DEL", "other:x"], ["HGET", "hephaestus:{0}:run:x", "st"], ["SUBSCRIBE", "other:wake"]),
        *(
            ["EVAL", "return redis.call('GET', KEYS[1])", "1", "other:x"],
            ["EVAL", "return redis.call('GET', 'x')", "0"],
        ),
        *(
            ["KEYS", "*"],
            ["SCAN", "0"],
            ["FLUSHALL"],
            ["CONFIG", "GET", "*"],
            ["ACL", "LIST"],
            ["MONITOR"],
            ["SHUTDOWN"],
        ),
    ],
    ids=" ".join,
)
def test_the_user_can_touch_nothing_else(storage, command):
    with pytest.raises(Exception, match=r"permission|ACL failure|can't access"):
        storage._client.execute_command(*command)


def test_another_namespace_is_refused_with_what_to_do(user_url, drive):
    storage = RedisStorage(user_url, namespace="other")
    with pytest.raises(StorageError, match=r"its user lacks a right.*deploying"):
        drive(storage).start()
    storage.close()


def test_a_run_goes_through_with_a_user_for_the_broker_and_one_for_the_state(
    private_server, admin, url_of, namespace, tmp_path
):
    stage = Stage(broker=url_of("shop-broker"), state=url_of("shop-state"), namespace=namespace, folder=tmp_path)
    options = {"global_keyprefix": f"{namespace}-broker:"}
    stage.settings["broker_transport_options"] = stage.app.conf.broker_transport_options = options
    try:
        stage.start_workers(1)
        handle = stage.hephaestus.start_instance(flows.Diamond, {"value": 1}, id="x1")
        assert stage.outcome(handle).status == "completed"
        assert refused(admin) == []
    finally:
        stage.close()
        print(stage.logs()[-3000:])


def test_a_user_of_the_state_is_not_asked_to_write_to_queues(private_server, user_url, admin, namespace, tmp_path):
    stage = Stage(broker=private_server.url, state=user_url, namespace=namespace, folder=tmp_path)
    stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    assert refused(admin) == []
    assert stage.waiting_messages() == 1
    stage.close()
