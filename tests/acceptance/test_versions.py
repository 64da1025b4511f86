"""Workers of different deployments, and runs that stay on the version that they were started with."""

from __future__ import annotations

from collections import Counter

import flows
import pytest
from stage import SUPPORT, eventually

START = "import worker_app, flows; print(flows.{}.start('x1', {{'value': 1}}).run_id); worker_app.hephaestus.close()"

BEFORE = """

class Charge(Recorded): ...


class Refund(Recorded): ...


class Quorum(Workflow):
    name = "quorum"
    unique = Unique("quorum")
    initial_step = Charge
    transitions = {
        (Charge, "done"): [B, C],
        (B, "done"): D,
        (C, "done"): D,
        (D, "done"): Refund,
        (Refund, "done"): Done,
    }
"""
"""What the older code says of a workflow that has got a ``FAILED`` transition and a counted join since."""


@pytest.fixture
def stage(make_stage):
    return make_stage(dispatch_timeout=0.5)


def started_by_new_code(stage, workflow):
    """A worker of the old code, which is the only one, and the id of a run that the new code has started."""
    stage.switches["HEPHAESTUS_TEST_VERSION"] = "1"
    [old] = stage.start_workers(1)
    stage.switches["HEPHAESTUS_TEST_VERSION"] = "2"
    output, errors = stage.script(START.format(workflow)).communicate(timeout=30)
    assert output.strip(), errors
    return old, output.strip()


@pytest.mark.only_on("redis", why="the store refuses the claims")
def test_a_version_that_a_worker_does_not_know_is_left_for_one_that_does(stage):
    old, run_id = started_by_new_code(stage, "Evolving")
    note = "does not know workflow evolving version 2"
    eventually(lambda: note in old.log.read_text())
    eventually(lambda: old.log.read_text().count("evolving.a[") > 4, what="its message is sent again")
    assert old.log.read_text().count(note) == 1
    assert stage.hephaestus.get(run_id).status == "pending"
    stage.start_workers(1)
    assert stage.hephaestus.wait(run_id, 60).status == "completed"
    assert stage.hephaestus.get(run_id).workflow_version == 2
    assert "Traceback" not in old.log.read_text()


def test_a_workflow_that_a_worker_does_not_know_is_left_for_one_that_does(stage):
    old, run_id = started_by_new_code(stage, "Novel")
    note = "does not know workflow novel version 1"
    eventually(lambda: note in old.log.read_text())
    eventually(lambda: old.log.read_text().count("unregistered task of type 'novel.a'") > 1, what="it is sent again")
    assert old.log.read_text().count(note) == 1
    assert stage.hephaestus.get(run_id).status == "pending"
    stage.start_workers(1)
    assert stage.hephaestus.wait(run_id, 60).status == "completed"


@pytest.mark.only_on("redis", why="each is a workflow like others")
def test_the_versions_of_an_umbrella_run_side_by_side(stage):
    stage.start_workers(1)
    first = stage.hephaestus.start_instance(flows.Track, {"value": 1}, id="x1", version=1)
    second = stage.hephaestus.start_instance(flows.Track, {"value": 1}, id="x2")
    assert (first.wait(30).workflow, second.wait(30).workflow) == (flows.TrackV1, flows.TrackV2)
    assert len(first.get().completed_steps) == 2
    assert len(second.get().completed_steps) == 3
    assert [instance.id for instance in stage.hephaestus.list(workflow=flows.Track)] == ["track::x2", "track::x1"]
    assert [instance.id for instance in stage.hephaestus.list(workflow=flows.TrackV1)] == ["track::x1"]


@pytest.mark.only_on("redis", why="both sides talk to one store, whatever the broker")
def test_a_worker_of_older_code_leaves_runs_with_failed_transitions_and_counted_joins_alone(stage, code_of_plain_edges):
    with (code_of_plain_edges[0] / "flows.py").open("a") as older_flows:
        older_flows.write(BEFORE)
    stage.path = code_of_plain_edges
    [older] = stage.start_workers()
    handles = [stage.hephaestus.start_instance(flows.Quorum, {"way": "raise"}, id=f"x{number}") for number in range(2)]
    plain = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="plain")
    assert stage.outcome(plain).status == "completed"
    eventually(lambda: "a newer hephaestus-celery has written (schema 3" in older.log.read_text(), what="it says so")
    assert {note["run_id"] for note in stage.executions()} == {plain.run_id}
    assert {handle.status for handle in handles} == {"pending"}
    stage.path = [SUPPORT]
    stage.start_workers()  # beside the older one, which goes on taking messages of these runs
    for handle in handles:
        instance = stage.outcome(handle)
        assert {step.key for step in instance.completed_steps} == {"charge", "b", "c", "d", "refund", "done"}
        assert instance.context.failure(flows.Charge).message == "declined"
    ran = Counter((note["run_id"], note["step"]) for note in stage.executions())
    assert {ran[handle.run_id, step] for handle in handles for step in ("b", "c", "d", "refund")} == {1}
    assert {ran[handle.run_id, "charge"] for handle in handles} == {2}
    assert "Traceback" not in older.log.read_text()
