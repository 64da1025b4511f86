"""Processes killed in the middle of a step, messages lost, workers frozen: every run ends as if nothing had been."""

from __future__ import annotations

import os
import signal
import time

import flows
import pytest
from stage import eventually

LEASE = 2.0
LONGER = 3.0
"""The lease where none may run out, however late a renewal comes."""


@pytest.fixture
def settings():
    """Celery settings of the stage, other than its own."""
    return {}


@pytest.fixture
def stage(make_stage, settings):
    """A stage whose leases and dispatches run out soon."""
    return make_stage(celery=settings, lease=LEASE, dispatch_timeout=1.0)


def gated(stage, **more):
    """A run whose first step is being executed, and the note of its execution."""
    handle = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate"), **more}, id="x1")
    [executed] = eventually(stage.executions, what="the step is executed")
    return handle, executed


def open_gate(stage):
    (stage.folder / "gate").touch()


def second_execution(stage, step="gate"):
    def found():
        runs = [record for record in stage.executions() if record["step"] == step]
        return runs[1] if len(runs) > 1 else None

    return eventually(found, timeout=30, what=f"{step} is executed again")


def test_a_killed_pool_process_is_noticed_at_once(make_stage):
    stage = make_stage(lease=30, dispatch_timeout=1.0)  # which has not run out by then
    stage.start_workers(1)
    handle, first = gated(stage)
    killed = time.time_ns()
    os.kill(first["pid"], signal.SIGKILL)
    again = second_execution(stage)
    assert again["pid"] != first["pid"]
    rest = handle.history()[1]
    assert (again["at"] - killed) / 1e9 < 10
    open_gate(stage)
    assert handle.wait(30).status == "completed"
    kinds = [(entry.kind, entry.step, entry.attempt, entry.outcome) for entry in handle.history()]
    assert kinds == [
        ("rescue", "gate", 1, None),
        ("attempt", "gate", 1, "retrying"),
        ("attempt", "gate", 2, "completed"),
        ("attempt", "b", 1, "completed"),
        ("attempt", "done", 1, "completed"),
    ]
    assert "lost" in rest.reason
    events = stage.emitted(handle.run_id)
    lost = next(event for event in events if event["event"] == "step.exception")
    assert (lost["metadata"]["kind"], lost["metadata"]["will_retry"]) == ("exit", True)
    assert [event["event"] for event in events].count("step.rescue") == 1
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(events) + 1))


def test_a_killed_worker_is_noticed_when_its_lease_runs_out(stage):
    stage.start_workers(2, concurrency=1)
    handle, first = gated(stage)
    victim = next(worker for worker in stage.workers if os.getpgid(first["pid"]) == worker.process.pid)
    killed = time.time_ns()
    victim.kill()
    again = second_execution(stage)
    assert (again["at"] - killed) / 1e9 < 15  # even if it was the one that looks for such leases
    open_gate(stage)
    assert handle.wait(30).status == "completed"
    assert [entry.kind for entry in handle.history()].count("rescue") == 1
    lost, repeated = (entry for entry in handle.history() if (entry.kind, entry.step) == ("attempt", "gate"))
    assert (lost.attempt, lost.worker) == (1, f"{victim.name}@test")
    assert repeated.attempt == 2
    assert repeated.worker != lost.worker


@pytest.mark.only_on("redis", why="RabbitMQ knows itself what is unacknowledged")
@pytest.mark.parametrize("settings", [{"broker_transport_options": {"ack_emulation": False}}], ids=["unlisted"])
def test_what_a_killed_worker_had_taken_is_sent_again_where_the_broker_holds_no_list_of_it(stage):
    [victim] = stage.start_workers(1, concurrency=1, options=["--prefetch-multiplier", "4"])
    gate = {"gate": str(stage.folder / "gate")}
    handles = [stage.hephaestus.start_instance(flows.Gated, gate, id=f"x{number}") for number in range(4)]
    eventually(stage.executions, what="a step is executed")
    with stage.app.connection_for_read() as connection:
        broker = connection.default_channel.client
        eventually(lambda: broker.llen(stage.namespace) == 0, what="the worker has taken all messages")
    victim.kill()
    stage.start_workers(1, concurrency=4)
    open_gate(stage)
    assert [handle.wait(30).status for handle in handles] == ["completed"] * 4


@pytest.mark.only_on("redis", why="the lease is in the store")
def test_a_step_longer_than_its_lease_runs_once(make_stage):
    stage = make_stage(lease=LONGER, dispatch_timeout=1.0)
    stage.start_workers(1)
    handle, _ = gated(stage)
    done = time.monotonic() + 2 * LONGER
    eventually(lambda: time.monotonic() > done)
    open_gate(stage)
    assert handle.wait(30).status == "completed"
    assert len([record for record in stage.executions() if record["step"] == "gate"]) == 1
    assert [entry.kind for entry in handle.history()].count("rescue") == 0


@pytest.mark.only_on("redis", why="the lease is in the store")
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_goes_before_a_step_may_take_longer_than_its_lease(make_stage, pool):
    stage = make_stage(lease=LONGER, dispatch_timeout=1.0)
    # A handler of step.start and a receiver of the application's task_prerun, each: the attempt is claimed by then.
    stage.switches["HEPHAESTUS_TEST_SLOW_START"] = str(LONGER + 0.5)
    stage.start_workers(1, pool=pool)
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    assert handle.wait(30).status == "completed"
    assert [(entry.kind, entry.outcome) for entry in handle.history()] == [("attempt", "completed")] * 3
    assert len(stage.executions()) == 2


def test_a_lost_message_is_sent_again(stage):
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    stage.drop_messages(at_least=1)
    stage.start_workers(1)
    assert handle.wait(30).status == "completed"
    assert handle.history()[0].kind == "rescue"
    assert [event["event"] for event in stage.emitted(handle.run_id)].count("workflow.start") == 1


def test_a_frozen_worker_that_comes_back_commits_nothing(stage):
    stage.start_workers(2, concurrency=1)
    handle, first = gated(stage)
    victim = next(worker for worker in stage.workers if os.getpgid(first["pid"]) == worker.process.pid)
    os.killpg(victim.process.pid, signal.SIGSTOP)
    second_execution(stage)
    open_gate(stage)
    assert handle.wait(30).status == "completed"
    before = handle.history()
    os.killpg(victim.process.pid, signal.SIGCONT)
    after = stage.hephaestus.start_instance(flows.Wide, {"value": 1}, id="after").wait(30)
    assert after.status == "completed"
    eventually(lambda: f"gate[{handle.run_id}:gate:1.1] succeeded" in victim.log.read_text())
    assert handle.history() == before
    stops = [event for event in stage.events("step.stop", run_id=handle.run_id) if event["metadata"]["step"] == "gate"]
    assert len(stops) == 1


def test_a_step_that_kills_its_worker_every_time_fails_after_its_attempts(stage):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Poisoned, {"value": 1}, id="x1")
    instance = handle.wait(60)
    assert (instance.status, instance.failed_step, instance.failure.kind) == ("failed", flows.Poison, "exit")
    assert len(stage.executions()) == 3
    assert [entry.outcome for entry in handle.history() if entry.kind == "attempt"] == [
        "retrying",
        "retrying",
        "failed",
    ]
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="after").wait(30).status == "completed"


def sworn(stage, workflow=flows.SWORN, *, way, deaths, timeout=None):
    """A run whose route ends its process so many times, given its event, or its timeout."""
    initial = {"way": way, "deaths": deaths, "timeout": timeout, "gate": str(stage.folder / "gate")}
    handle = stage.hephaestus.start_instance(workflow, initial, id="x1")
    if timeout is None:
        eventually(lambda: handle.get().status == "waiting", what="the step waits")
        handle.resume("given", {"by": "ann"})
    return handle


@pytest.mark.parametrize(
    ("way", "timeout"), [("exit", None), ("kill", None), ("exit", 0.2)], ids=["exit", "kill", "exit-after-a-timeout"]
)
def test_a_route_that_ends_its_process_every_time_fails_after_the_attempts_of_its_step(stage, way, timeout):
    stage.start_workers(1)
    handle = sworn(stage, way=way, deaths=100, timeout=timeout)
    instance = handle.wait(30)
    event = "given" if timeout is None else "timeout"
    assert (instance.status, instance.failed_step, instance.failure.kind) == ("failed", flows.Vow, "exit")
    assert instance.failure.message == f"step vow: worker that applied its event was lost (event '{event}')"
    routed = [note["result"] for note in stage.notes("routed")]
    assert routed == [{} if timeout else {"by": "ann"}] * 4
    assert [(entry.kind, entry.outcome) for entry in handle.history()] == [
        ("attempt", "waiting"),
        *[("rescue", None)] * 3,
        ("attempt", "retrying"),
        ("rescue", None),
        ("attempt", "failed"),
    ]
    emitted = stage.emitted(handle.run_id, last="workflow.exception")
    assert [event["metadata"]["kind"] for event in emitted if event["event"] == "step.exception"] == ["exit"] * 2
    assert [event["metadata"]["sequence"] for event in emitted] == list(range(1, len(emitted) + 1))
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="after").wait(30).status == "completed"


def test_an_event_is_applied_once_although_its_appliers_were_killed(stage):
    stage.start_workers(1)
    handle = sworn(stage, flows.SWORN_ONCE, way="kill", deaths=2)  # a step with one attempt
    instance = handle.wait(30)
    assert (instance.status, instance.context.result(flows.OneVow)) == ("completed", {"by": "ann"})
    assert [(entry.kind, entry.step, entry.outcome) for entry in handle.history()] == [
        ("attempt", "vow", "waiting"),
        *[("rescue", "vow", None)] * 2,
        ("resume", "vow", "completed"),
        ("attempt", "b", "completed"),
        ("attempt", "done", "completed"),
    ]
    emitted = [event["event"] for event in stage.emitted(handle.run_id)]
    assert (emitted.count("step.resume"), emitted.count("step.exception")) == (1, 0)


@pytest.mark.only_on("redis", why="the event is in the store")
def test_an_event_outlives_a_worker_that_is_killed_while_it_applies_it(stage):
    stage.start_workers(1)
    handle = sworn(stage, way="hang", deaths=1)
    eventually(lambda: stage.notes("routed"), what="the event is being applied")
    stage.workers[0].kill()
    stage.start_workers(1)
    assert handle.wait(30).status == "completed"
    assert [entry.kind for entry in handle.history()] == ["attempt", "rescue", "resume", "attempt", "attempt"]
    assert len(stage.notes("routed")) == 2


@pytest.mark.only_on("redis", why="the pool interrupts the step, and the store does the rest")
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_route_that_never_ends_after_an_event_is_ended_by_the_time_limit(stage, pool):
    stage.start_workers(1, pool=pool)
    handle = sworn(stage, flows.SWORN_SHORTLY, way="hang", deaths=100)
    instance = handle.wait(30)
    assert (instance.status, instance.failure.kind) == ("failed", "exit")
    assert "time limit exceeded" in instance.failure.message
    assert len(stage.notes("routed")) == 1
    open_gate(stage)


@pytest.mark.only_on("redis", why="the timer is in the store")
def test_a_timer_set_before_all_workers_are_stopped_fires_after_their_return(stage):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Naps, {"value": 1}, id="x1")
    eventually(lambda: handle.get().status == "waiting")
    due = time.time() + 1.0
    stage.workers[0].stop()
    eventually(lambda: time.time() > due)
    returned = stage.start_workers(1) and time.time_ns()
    assert handle.wait(30).status == "completed"
    resume = next(event for event in stage.emitted(handle.run_id) if event["event"] == "step.resume")
    assert resume["metadata"]["source"] == "timeout"
    assert (resume["at"] - returned) / 1e9 < 10


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_time_limit_fails_the_attempt(stage, pool):
    stage.start_workers(1, pool=pool)
    handle = stage.hephaestus.start_instance(flows.Overruns, {"gate": str(stage.folder / "gate")}, id="x1")
    instance = handle.wait(30)
    assert (instance.status, instance.failure.kind) == ("failed", "exit")
    open_gate(stage)
    emitted = stage.emitted(handle.run_id, last="workflow.exception")
    assert [event["metadata"]["kind"] for event in emitted if event["event"] == "step.exception"] == ["exit"]


@pytest.mark.only_on("redis", why="the pool interrupts the step, and the store does the rest")
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_step_that_goes_on_after_its_time_limit_has_failed_all_the_same(stage, pool):
    stage.start_workers(1, pool=pool)
    handle = stage.hephaestus.start_instance(flows.Overheard, {"gate": str(stage.folder / "gate")}, id="x1")
    began = eventually(stage.executions, what="the step is executed")[0]["at"]
    instance = handle.wait(30)
    assert (instance.status, instance.failure.kind) == ("failed", "exit")
    assert (instance.finished_at.timestamp() - began / 1e9) < 10
    open_gate(stage)
    emitted = stage.emitted(handle.run_id, last="workflow.exception")
    assert [event["event"] for event in emitted if event["event"] in {"step.stop", "step.exception"}] == [
        "step.exception"
    ]
    assert [entry.outcome for entry in handle.history() if entry.kind == "attempt"] == ["failed"]


@pytest.mark.only_on("redis", why="the timer is in the store")
def test_a_retried_step_is_seen_as_retried(stage):
    stage.start_workers(1, concurrency=1)  # a process that has begun an attempt has told all of the one before
    handle = stage.hephaestus.start_instance(flows.Flaky, {"value": 1}, id="x1")
    assert handle.wait(30).status == "completed"
    emitted = [event for event in stage.emitted(handle.run_id) if event["event"] == "step.exception"]
    assert [event["metadata"]["attempt"] for event in emitted] == [1, 2]
    assert [event["metadata"]["will_retry"] for event in emitted] == [True, True]
    assert [event["metadata"]["retry_in"] for event in emitted] == [100_000_000, 200_000_000]
    assert stage.logs().count("retry: Retry in") == 2
    assert [entry.outcome for entry in handle.history()] == ["retrying", "retrying", "completed", "completed"]


def test_a_cancelled_run_starts_nothing_more(stage):
    stage.start_workers(1)
    handle, _ = gated(stage)
    handle.cancel("changed my mind")
    instance = handle.get()
    assert (instance.status, instance.cancel_reason, instance.active_steps) == (
        "cancelled",
        "changed my mind",
        frozenset(),
    )
    again = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate")}, id="x1")
    open_gate(stage)
    assert again.wait(30).status == "completed"
    eventually(lambda: [entry.outcome for entry in handle.history()] == [None, "discarded"])
    assert handle.get().status == "cancelled"


def test_a_revoked_task_is_a_failed_attempt(stage):
    stage.start_workers(1, concurrency=1)
    blocker, _ = gated(stage)
    handle = stage.hephaestus.start_instance(flows.Flaky, {"value": 1}, id="y1")
    stage.app.control.revoke(f"{handle.run_id}:flaky_step:1.1", reply=True, timeout=5, limit=1)
    open_gate(stage)
    assert blocker.wait(30).status == "completed"
    assert handle.wait(30).status == "completed"
    first = next(entry for entry in handle.history() if entry.kind == "attempt")
    assert (first.outcome, first.attempt) == ("retrying", 1)
    assert "revoked" in first.reason


@pytest.mark.only_on("redis", why="the worker turns it away by itself")
def test_a_run_that_begins_with_done_ends_although_its_message_was_revoked(stage):
    stage.start_workers(1, concurrency=1)
    blocker, _ = gated(stage)
    handle = stage.hephaestus.start_instance(flows.Straight, {"value": 1}, id="y1")
    stage.app.control.revoke(f"{handle.run_id}:done:1.1", reply=True, timeout=5, limit=1)
    open_gate(stage)
    assert blocker.wait(30).status == "completed"
    assert handle.wait(30).status == "completed"


def test_an_event_whose_message_was_revoked_is_applied_all_the_same(stage):
    stage.start_workers(1, concurrency=1)
    handle = stage.hephaestus.start_instance(flows.Payment, {"value": 1}, id="y1")
    eventually(lambda: handle.get().status == "waiting", what="the step waits")
    blocker = stage.hephaestus.start_instance(flows.Gated, {"gate": str(stage.folder / "gate")}, id="x1")
    eventually(lambda: any(note["step"] == "gate" for note in stage.executions()), what="the worker is busy")
    stage.app.control.revoke(f"{handle.run_id}:wait_for_event:1.2", reply=True, timeout=5, limit=1)
    handle.resume("paid", {"amount": 90})
    open_gate(stage)
    assert blocker.wait(30).status == "completed"
    assert handle.wait(30).status == "completed"
    assert any("revoked" in (entry.reason or "") for entry in handle.history())


@pytest.mark.only_on("redis", why="it is about the commands that the store gets")
def test_an_idle_worker_costs_little(stage):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Payment, {"value": 1}, id="x1")
    eventually(lambda: handle.get().status == "waiting")
    client = stage.hephaestus.storage._client
    prefix = stage.hephaestus.storage.keys.partition(0)
    eventually(lambda: not client.exists(f"{prefix}lanes"), what="the last look at the queue of the message is done")
    monitored = stage.state_commands(client, seconds=6)
    assert monitored <= 6 * 3, f"{monitored} commands in 6 s"
