"""Results of runs on real workers, which are killed while they compute one, and before they commit it."""

from __future__ import annotations

from collections import Counter

import pytest
import result_flows
from shell import Shell

from hephaestus_celery import Done, RunFailedError


@pytest.fixture
def stage(make_stage):
    """A stage whose workflows have results."""
    return make_stage(application="result_app")


def start(stage, flow, **context):
    return stage.hephaestus.start_instance(flow, context, id="x1")


def computed(stage):
    """The steps that each computation has seen."""
    return [note["steps"] for note in stage.notes("computed")]


def history(handle):
    return [(entry.kind, entry.step, entry.attempt, entry.outcome) for entry in handle.history()]


def told(stage, handle, *, last="workflow.stop"):
    """The names of the last four events; each event of the run has a number."""
    events = stage.emitted(handle.run_id, last=last)
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    return [event["event"] for event in events][-4:]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_last_of_two_branches_computes_the_result_in_its_own_task(stage, pool):
    stage.start_workers(1, pool=pool)
    handle = start(stage, result_flows.GivesAfterTwo)
    assert handle.result(30) == {"steps": ["a", "b"]}
    assert computed(stage) == [["a", "b"]]
    assert handle.get().context.steps["done"] == {}
    assert told(stage, handle) == ["step.start", "step.stop", "workflow.transition", "workflow.stop"]
    assert len(history(handle)) == 3


def test_a_result_that_raises_fails_the_run_and_its_task_succeeds(stage):
    stage.start_workers(1)
    handle = start(stage, result_flows.GivesAfterOne, way="raise")
    with pytest.raises(RunFailedError, match="nothing to give") as refused:
        handle.result(30)
    assert refused.value.instance.failed_step is Done
    assert computed(stage) == [["a"]]
    assert told(stage, handle, last="workflow.exception") == [
        "engine.advance",
        "step.start",
        "step.exception",
        "workflow.exception",
    ]
    assert history(handle) == [("attempt", "a", 1, "completed"), ("attempt", "done", 1, "failed")]
    again = handle.retry(context={"way": "mended"})
    assert again.result(30) == {"steps": ["a"]}
    assert Counter(record["step"] for record in stage.executions()) == {"a": 1}


def test_a_process_that_is_killed_while_it_computes_is_replaced_and_there_is_one_result(stage):
    stage.start_workers(1)
    handle = start(stage, result_flows.GivesAfterOne, way="die")
    assert handle.result(30) == {"steps": ["a"]}
    assert len(computed(stage)) == 2
    assert history(handle) == [
        ("rescue", "a", 1, None),
        ("attempt", "a", 1, "retrying"),
        ("attempt", "a", 2, "completed"),
        ("attempt", "done", 1, "completed"),
    ]


def test_a_process_that_is_killed_between_result_and_commit_is_replaced_and_there_is_one_result(stage):
    stage.switches["HEPHAESTUS_TEST_CUT"] = "complete:2"  # the first asks for the result
    stage.start_workers(1)
    handle = start(stage, result_flows.GivesAfterOne)
    assert handle.result(30) == {"steps": ["a"]}
    assert (stage.folder / "cut").exists()
    assert len(computed(stage)) == 2
    assert [line[3] for line in history(handle)] == [None, "retrying", "completed", "completed"]


@pytest.mark.parametrize(
    "flow",
    [
        result_flows.GivesAtOnce,
        result_flows.GivesAfterRescue,
        result_flows.GivesBesideMany,
        result_flows.GivesAfterTimer,
    ],
)
def test_a_worker_computes_what_no_step_can_and_is_killed_over_it(stage, flow):
    [worker] = stage.start_workers(1)
    handle = start(stage, flow, way="die")
    instance = handle.wait(30)
    steps = sorted({step.key for step in instance.completed_steps} - {"done"})
    assert (instance.status, instance.result) == ("completed", {"steps": steps})
    notes = stage.notes("computed")
    assert [note["steps"] for note in notes] == [steps, steps]
    assert worker.process.pid not in {note["pid"] for note in notes}


def test_a_large_result_is_stored_once_and_read_on_demand(stage):
    stage.start_workers(1)
    handle = start(stage, result_flows.GivesAfterOne, way="large")
    assert len(handle.result(30)["text"]) == 1_000_000
    [listed] = stage.hephaestus.list()
    assert listed.is_far("result")
    assert len(listed.result["text"]) == 1_000_000
    assert stage.hephaestus.fork(handle.run_id, Done, value="x2").result(30) == handle.result()


def test_the_command_line_shows_the_result(stage):
    stage.start_workers(1)
    shell = Shell(stage.app)
    started = shell("start", "gives_after_one", "x1", "--wait", "--json")
    assert (started.code, started.document["result"]) == (0, {"steps": ["a"]})
    assert any("result of the run" in line and '{"steps": ["a"]}' in line for line in shell("show", "giving::x1").lines)
    assert shell("wait", "giving::x1", "--json").document["result"] == {"steps": ["a"]}
