"""Workflows on two workers and a Valkey, all of them containers or all of them processes of this machine."""

from __future__ import annotations

import time

import flows
from side_by_side import SideBySide
from stage import eventually

from hephaestus_celery import telemetry

TOLERANCE = 50_000_000
"""Nanoseconds between two clocks of one machine."""


def worker_names(celery_setup):
    return {worker.hostname() for worker in celery_setup.worker_cluster}


def gated(hephaestus, notes, workflow=flows.Gated):
    """A run whose steps go on once the gate is there."""
    return hephaestus.start_instance(workflow, {"gate": str(notes.folder / "gate")}, id="x1")


def open_gate(notes):
    (notes.folder / "gate").touch()


def test_a_handler_in_a_worker_sees_all_events(celery_setup, hephaestus, notes):
    paid = hephaestus.start_instance(flows.Payment, {"value": 1}, id="paid")
    refused = hephaestus.start_instance(flows.FAILING[flows.Fails], {"value": 1}, id="refused")
    eventually(lambda: paid.get().status == "waiting", what="the run waits")
    paid.resume("paid", {"amount": 3})
    assert (paid.wait(60).status, refused.wait(60).status) == ("completed", "failed")
    notes.emitted(paid.run_id)
    notes.emitted(refused.run_id, last="workflow.exception")
    expected = {".".join(event[1:]) for event in telemetry.events()}
    assert len(expected) == 11
    assert expected <= {record["event"] for record in notes.events()}
    assert {record["metadata"]["hostname"] for record in notes.events()} <= worker_names(celery_setup)


def test_the_steps_of_a_run_are_executed_on_two_workers(celery_setup, hephaestus, notes):
    handle = gated(hephaestus, notes, SideBySide)
    eventually(lambda: {"left", "right"} <= {record["step"] for record in notes.executions()}, what="both branches")
    open_gate(notes)
    assert handle.wait(60).status == "completed"
    branches = {entry.step: entry.worker for entry in handle.history() if entry.step in ("left", "right")}
    assert set(branches.values()) == worker_names(celery_setup)


def test_a_killed_worker_is_replaced_by_the_other(celery_setup, hephaestus, notes):
    handle = gated(hephaestus, notes)
    eventually(notes.executions, what="the step is executed")
    [begun] = [record["metadata"]["hostname"] for record in notes.events("step.start")]
    [victim] = [worker for worker in celery_setup.worker_cluster if worker.hostname() == begun]
    [survivor] = worker_names(celery_setup) - {begun}
    victim.kill()
    eventually(lambda: len(notes.executions()) == 2, what="the step is executed again")
    open_gate(notes)
    assert handle.wait(60).status == "completed"
    assert victim.container.status == "exited"
    history = handle.history()
    assert [(entry.kind, entry.step, entry.attempt, entry.outcome) for entry in history] == [
        ("rescue", "gate", 1, None),
        ("attempt", "gate", 1, "retrying"),
        ("attempt", "gate", 2, "completed"),
        ("attempt", "b", 1, "completed"),
        ("attempt", "done", 1, "completed"),
    ]
    assert {entry.worker for entry in history if entry.outcome == "completed"} == {survivor}


def test_durations_are_right_though_all_workers_were_restarted_while_the_run_waited(celery_setup, hephaestus, notes):
    before = time.monotonic_ns()
    handle = hephaestus.start_instance(flows.Payment, {"value": 1}, id="x1")
    started = time.monotonic_ns()
    eventually(lambda: handle.get().status == "waiting", what="the run waits")
    waiting = time.monotonic_ns()
    for worker in celery_setup.worker_cluster:
        worker.restart()
    resumed = time.monotonic_ns()
    handle.resume("paid", {"amount": 3})
    assert handle.wait(60).status == "completed"
    events = notes.emitted(handle.run_id)
    ended = time.monotonic_ns()
    assert [event["event"] for event in events].count("workflow.start") == 1
    [resume] = [event for event in events if event["event"] == "step.resume"]
    assert resumed - waiting - TOLERANCE <= resume["measurements"]["wait_duration"] <= ended - started + TOLERANCE
    assert resumed - started - TOLERANCE <= events[-1]["measurements"]["duration"] <= ended - before + TOLERANCE


def test_runs_are_completed_though_the_broker_was_restarted_among_them(celery_setup, hephaestus, notes):
    held = gated(hephaestus, notes)
    eventually(notes.executions, what="the step is executed")
    handles = [hephaestus.start_instance(flows.Wide, {"value": number}, id=f"i{number}") for number in range(20)]
    eventually(lambda: notes.events("workflow.stop"), what="the first run is completed")
    celery_setup.broker.restart()
    open_gate(notes)
    assert {handle.wait(60).status for handle in (held, *handles)} == {"completed"}
