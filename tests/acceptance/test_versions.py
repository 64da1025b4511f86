"""Workers of different deployments, and runs that stay on the version that they were started with."""

from __future__ import annotations

import flows
import pytest
from stage import eventually

START = "import worker_app, flows; print(flows.{}.start('x1', {{'value': 1}}).run_id); worker_app.hephaestus.close()"


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
