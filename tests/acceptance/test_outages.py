"""Server, broker and connections that go away and come back: an outage pauses, and loses nothing."""

from __future__ import annotations

import os
import signal
import time

import flows
import pytest
from rabbitmq import RabbitMQServer
from redis import Redis
from stage import eventually

from hephaestus_celery import StorageError
from hephaestus_celery.embedded import EmbeddedServer


@pytest.fixture
def carrier(broker, request):
    """A broker that may be stopped; the next test finds it running again."""
    if broker == "redis":
        with EmbeddedServer() as server:
            yield server
    else:
        server = request.getfixturevalue("rabbitmq")
        yield server
        server.start()


@pytest.fixture
def store():
    """A state store that may be stopped."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def settings():
    """Settings that a test changes."""
    return {"lease": 15.0, "dispatch_timeout": 1.0}


@pytest.fixture
def stage(carrier, store, settings, open_stage):
    return open_stage(broker=carrier.url, state=store.url, **settings)


def cut_connections(server):
    """End every connection of the server's clients, which will notice when they use them."""
    if isinstance(server, RabbitMQServer):
        server.control("close_all_connections", "a test of outages")
    else:
        with Redis(unix_socket_path=str(server.socket_path)) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def lose_everything(server):
    """Restart the server without its data."""
    if isinstance(server, RabbitMQServer):
        server.stop()
        server.wipe()
        server.start()
    else:
        with Redis(unix_socket_path=str(server.socket_path)) as client:
            client.flushall()
        server.restart()


def pass_time(seconds):
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > end)


def test_a_start_is_accepted_while_the_broker_is_away(stage, carrier):
    stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="before")
    carrier.stop()
    begun = time.monotonic()
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    assert time.monotonic() - begun < 5
    assert handle.get().status == "pending"
    carrier.start()
    stage.start_workers(1, pool="solo")
    assert stage.outcome(handle).status == "completed"


def test_a_start_over_a_connection_that_was_cut_reaches_the_broker(stage, carrier):
    stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="before")
    eventually(lambda: stage.waiting_messages() == 1)
    cut_connections(carrier)
    stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    eventually(lambda: stage.waiting_messages() == 2, what="the second message waits too")


@pytest.mark.only_on("redis", why="it is the store that is away")
def test_a_start_without_the_store_raises_soon_and_stores_nothing(stage, store):
    store.stop()
    begun = time.monotonic()
    with pytest.raises(StorageError, match="hephaestus_state_backend"):
        stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    assert time.monotonic() - begun < 5
    store.start()
    assert len(stage.hephaestus.list()) == 0


@pytest.mark.only_on("redis", why="it is the store that is away")
def test_a_step_keeps_its_result_while_the_store_is_away(stage, store):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate")}, id="x1")
    eventually(stage.executions)
    store.stop()
    (stage.folder / "gate").touch()
    pass_time(3)
    store.start()
    assert stage.outcome(handle).status == "completed"
    assert [record["step"] for record in stage.executions()] == ["gate", "b"]
    assert [event["event"] for event in stage.emitted(handle.run_id)].count("step.stop") == 3


@pytest.mark.only_on("redis", why="it is the store that is restarted")
def test_runs_go_on_after_the_store_was_restarted(stage, store):
    stage.start_workers(2)
    handles = [stage.hephaestus.start_instance(flows.Wide, {"value": n}, id=f"i{n}") for n in range(20)]
    eventually(lambda: len(stage.events("workflow.stop")) > 3)
    store.restart()
    for handle in handles:
        assert stage.outcome(handle).status == "completed"


def test_runs_go_on_after_the_broker_has_lost_everything(stage, carrier):
    stage.start_workers(2)
    handles = [stage.hephaestus.start_instance(flows.Wide, {"value": n}, id=f"i{n}") for n in range(20)]
    lose_everything(carrier)
    for handle in handles:
        assert stage.outcome(handle).status == "completed"


@pytest.mark.only_on("redis", why="it is about the store's connections")
def test_cut_connections_and_forgotten_scripts_are_not_noticed(stage):
    stage.start_workers(2)
    client = stage.hephaestus.storage._client
    handles = []
    for number in range(30):
        handles.append(stage.hephaestus.start_instance(flows.Diamond, {"value": number}, id=f"i{number}"))
        if number % 5 == 0:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.script_flush()
    for handle in handles:
        assert stage.outcome(handle).status == "completed"
    assert all(len(handle.history()) >= 5 for handle in handles)


@pytest.fixture
def patient(settings):
    """Nothing is sent again within a test, and pools of threads are set as they are advised to be."""
    settings.update(dispatch_timeout=60.0, celery={"worker_enable_prefetch_count_reduction": False})


@pytest.mark.only_on("rabbitmq", why="what it redelivers at once, Redis does after an hour")
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
@pytest.mark.usefixtures("patient")
def test_a_step_whose_worker_loses_its_connections_runs_once_and_is_followed_at_once(stage, carrier, pool):
    stage.start_workers(1, pool=pool, concurrency=1)
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1").wait(30).status == "completed"
    handle = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate")}, id="x1")
    eventually(lambda: stage.executions()[-1]["step"] == "gate")
    cut_connections(carrier)
    if pool != "solo":  # which does nothing beside its step
        eventually(lambda: stage.logs().count("Connected to") == 2, what="the worker is connected again")
    (stage.folder / "gate").touch()
    assert handle.wait(30).status == "completed"
    assert [entry.kind for entry in handle.history()] == ["attempt"] * 3
    assert [record["step"] for record in stage.executions()] == ["a", "b", "gate", "b"]
    eventually(lambda: f"{handle.run_id}:gate:1.1] ignored" in stage.logs(), what="the redelivered message is ignored")


@pytest.mark.only_on("rabbitmq", why="Redis has no such limit")
@pytest.mark.usefixtures("patient")
def test_a_step_longer_than_the_time_that_rabbitmq_gives_its_message_runs_once(stage, carrier):
    stage.settings["broker_channel_error_retry"] = True  # without it the worker ends
    carrier.control("eval", limited(consumer_timeout=1000, channel_tick_interval=200))
    try:
        stage.start_workers(1)
        handle = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate")}, id="x1")
        eventually(lambda: stage.logs().count("Connected to") > 1, what="the worker is connected again")
        (stage.folder / "gate").touch()
        assert handle.wait(30).status == "completed"
    finally:
        carrier.control("eval", limited(consumer_timeout=1_800_000, channel_tick_interval=60_000))
    assert "delivery acknowledgement on channel 1 timed out" in stage.logs()
    assert [record["step"] for record in stage.executions()] == ["gate", "b"]


def limited(**milliseconds):
    return ", ".join(f"application:set_env(rabbit, {name}, {value})" for name, value in milliseconds.items()) + "."


@pytest.mark.only_on("rabbitmq", why="Redis answers nothing that could be mistaken")
@pytest.mark.parametrize(("pool", "warned"), [("prefork", False), ("threads", True)])
def test_a_pool_that_could_fall_silent_after_an_outage_is_warned_of(stage, pool, warned):
    stage.start_workers(1, pool=pool)
    assert ("set worker_enable_prefetch_count_reduction = False" in stage.logs()) == warned


@pytest.mark.parametrize(
    ("number", "seconds"),
    [(signal.SIGTERM, 0), (signal.SIGQUIT, 2), (signal.SIGQUIT, 0)],
    ids=["warm", "soft", "cold"],
)
def test_a_worker_that_is_shut_down_in_a_step_leaves_it_to_the_next(stage, number, seconds):
    stage.switches["HEPHAESTUS_TEST_SOFT_SHUTDOWN"] = str(seconds)
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate")}, id="x1")
    eventually(stage.executions)
    stage.workers[0].process.send_signal(number)
    if number == signal.SIGTERM:
        eventually(lambda: "Warm shutdown" in stage.workers[0].log.read_text())
        (stage.folder / "gate").touch()
    stage.workers[0].process.wait(30)
    stage.start_workers(1)
    (stage.folder / "gate").touch()
    assert stage.outcome(handle).status == "completed"
    committed = [entry for entry in handle.history() if entry.outcome == "completed"]
    assert [entry.step for entry in committed] == ["gate", "b", "done"]


def start(stage, value, context):
    """Start a run."""
    return stage.hephaestus.start_instance(flows.Linear, context, id=value)


@pytest.mark.only_on("redis", why="it is the store that is frozen")
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_the_first_start_of_a_process_does_not_wait_for_ever_for_a_frozen_store_that_is_the_broker(stage, store, many):
    starts = [(f"x{number}", {"value": 1}) for number in range(300 if many else 1)]
    os.kill(store.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(StorageError):
            stage.hephaestus.start_many(flows.Linear, starts) if many else start(stage, *starts[0])
        assert time.monotonic() - began < 30  # not some seconds for each
        pass_time(0.5)
    finally:
        os.kill(store.pid, signal.SIGCONT)
    assert list(stage.hephaestus.list()) == []
    handle = start(stage, *starts[0])
    stage.start_workers(1)
    assert stage.outcome(handle).status == "completed"


@pytest.mark.only_on("redis", why="it is the store that is frozen")
def test_a_start_that_a_frozen_store_gets_too_late_stores_nothing(stage, store):
    stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="before")
    os.kill(store.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StorageError):
            stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
        pass_time(0.5)
    finally:
        os.kill(store.pid, signal.SIGCONT)
    assert [instance.id for instance in stage.hephaestus.list()] == ["linear::before"]
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1").get().status == "pending"
