"""Server, broker and connections that go away and come back: an outage pauses, and loses nothing."""

from __future__ import annotations

import os
import signal
import time

import flows
import pytest
from stage import Stage, eventually

from hephaestus_celery import StorageError
from hephaestus_celery.embedded import EmbeddedServer


@pytest.fixture
def servers():
    """A broker and a state store of their own."""
    with EmbeddedServer() as broker, EmbeddedServer() as store:
        yield broker, store


@pytest.fixture
def stage(servers, namespace, tmp_path):
    broker, store = servers
    stage = Stage(
        broker=broker.url, state=store.url, namespace=namespace, folder=tmp_path, lease=15.0, dispatch_timeout=1.0
    )
    yield stage
    stage.close()
    print(stage.logs()[-6000:])


def pass_time(seconds):
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > end)


def test_a_start_is_accepted_while_the_broker_is_away(stage, servers):
    broker, _ = servers
    stage.start_workers(1)
    broker.stop()
    begun = time.monotonic()
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    assert time.monotonic() - begun < 5
    assert handle.get().status == "pending"
    broker.start()
    assert stage.outcome(handle).status == "completed"


def test_a_start_without_the_store_raises_soon_and_stores_nothing(stage, servers):
    _, store = servers
    store.stop()
    begun = time.monotonic()
    with pytest.raises(StorageError, match="hephaestus_state_backend"):
        stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    assert time.monotonic() - begun < 5
    store.start()
    assert len(stage.hephaestus.list()) == 0


def test_a_step_keeps_its_result_while_the_store_is_away(stage, servers):
    _, store = servers
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate")}, id="x1")
    eventually(stage.executions)
    store.stop()
    (stage.folder / "gate").touch()
    pass_time(3)
    store.start()
    assert stage.outcome(handle).status == "completed"
    assert [record["step"] for record in stage.executions()] == ["gate", "b"]
    assert [event["event"] for event in stage.told(handle.run_id)].count("step.stop") == 3


def test_runs_go_on_after_the_store_was_restarted(stage, servers):
    _, store = servers
    stage.start_workers(2)
    handles = [stage.hephaestus.start_instance(flows.Wide, {"value": n}, id=f"i{n}") for n in range(20)]
    eventually(lambda: len(stage.events("workflow.stop")) > 3)
    store.restart()
    for handle in handles:
        assert stage.outcome(handle).status == "completed"


def test_runs_go_on_after_the_broker_has_lost_everything(stage, servers):
    broker, _ = servers
    stage.start_workers(2)
    handles = [stage.hephaestus.start_instance(flows.Wide, {"value": n}, id=f"i{n}") for n in range(20)]
    stage.drop_messages()
    broker.restart()
    stage.drop_messages()
    for handle in handles:
        assert stage.outcome(handle).status == "completed"


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


@pytest.mark.parametrize(
    ("number", "patience"),
    [(signal.SIGTERM, 0), (signal.SIGQUIT, 2), (signal.SIGQUIT, 0)],
    ids=["warm", "soft", "cold"],
)
def test_a_worker_that_is_shut_down_in_a_step_leaves_it_to_the_next(stage, number, patience):
    stage.switches["HEPHAESTUS_TEST_SOFT_SHUTDOWN"] = str(patience)
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


def test_a_start_that_a_frozen_store_gets_too_late_stores_nothing(stage, servers):
    _, store = servers
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
