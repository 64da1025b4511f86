"""Counted joins on real workers: the first of several wins, what is left behind ends, and kills change nothing of that."""

from __future__ import annotations

import os
import signal
from collections import Counter

import flows
import pytest
from stage import eventually


@pytest.fixture
def stage(make_stage):
    """A stage whose leases run out soon."""
    return make_stage(lease=3.0, dispatch_timeout=1.0)


def executed(stage):
    return Counter(record["step"] for record in stage.executions())


def outcomes(handle):
    return {(entry.step, entry.outcome) for entry in handle.history() if entry.kind != "rescue"}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_run_completes_with_its_first_branch_and_the_others_end(stage, pool):
    stage.start_workers(1, pool=pool, concurrency=3)
    handle = stage.hephaestus.start_instance(flows.Race, {}, id="x1")
    instance = handle.wait(30)
    assert instance.status == "completed"
    assert {step.key for step in instance.completed_steps} == {"a", "quick", "c", "d", "done"}
    eventually(lambda: ("loser", "discarded") in outcomes(handle), what="the loser has ended")
    assert [note["run_id"] for note in stage.notes("unwanted")] == [handle.run_id]
    assert {step.key for step in handle.get().skipped_steps} <= {"approved"}
    assert executed(stage)["c"] == executed(stage)["d"] == 1
    events = stage.emitted(handle.run_id)
    assert [event["event"] for event in events].count("workflow.stop") == 1
    numbers = [event["metadata"]["sequence"] for event in events]
    assert len(set(numbers)) == len(numbers)


def test_a_worker_that_is_killed_with_the_branches_left_behind_changes_nothing(stage):
    stage.start_workers(2, concurrency=2)
    gate = stage.folder / "gate"
    handle = stage.hephaestus.start_instance(flows.Race, {"gate": str(gate)}, id="x1")
    [loser] = eventually(
        lambda: [record for record in stage.executions() if record["step"] == "loser"], what="the loser runs"
    )
    os.kill(loser["pid"], signal.SIGKILL)
    gate.touch()
    instance = handle.wait(30)
    assert instance.status == "completed"
    assert executed(stage)["c"] == executed(stage)["d"] == 1
    assert stage.hephaestus.count(status="completed") == 1


def test_a_process_killed_when_it_commits_the_first_branch_costs_nothing(stage):
    stage.switches["HEPHAESTUS_TEST_CUT"] = "complete:2"
    stage.start_workers(1, concurrency=3)
    handle = stage.hephaestus.start_instance(flows.Race, {}, id="x1")
    instance = handle.wait(30)
    assert instance.status == "completed"
    completed = Counter(entry.step for entry in handle.history() if entry.outcome == "completed")
    assert [completed[key] for key in ("quick", "c", "d", "done")] == [1, 1, 1, 1]


def test_a_paused_run_goes_on_to_its_first_branch(stage):
    stage.start_workers(1, concurrency=3)
    handle = stage.hephaestus.start_instance(flows.Duel, {}, id="x1")
    eventually(lambda: executed(stage)["loser"], what="the loser runs")
    eventually(lambda: handle.get().waiting_steps, what="the other branch waits")
    stage.hephaestus.pause(handle.id)
    handle.resume("approved")
    stage.hephaestus.unpause(handle.id)
    instance = handle.wait(30)
    assert instance.status == "completed"
    assert {step.key for step in instance.completed_steps} == {"approved", "c", "done"}


def test_a_cancelled_run_ends_all_of_its_branches(stage):
    stage.start_workers(1, concurrency=2)
    handle = stage.hephaestus.start_instance(flows.Duel, {}, id="x1")
    eventually(lambda: executed(stage)["loser"], what="the loser runs")
    handle.cancel("enough")
    assert handle.wait(30).status == "cancelled"
    eventually(lambda: stage.notes("unwanted"), what="the loser has learned it")
    again = handle.retry()
    eventually(lambda: again.get().waiting_steps, what="the run is there again")
    again.resume("approved")
    assert again.wait(30).status == "completed"


def test_a_failure_that_a_transition_takes_leaves_the_others_enough(stage):
    stage.start_workers(1, concurrency=3)
    handle = stage.hephaestus.start_instance(flows.Quorum, {"way": "raise"}, id="x1")
    instance = handle.wait(30)
    assert instance.status == "completed"
    assert {step.key for step in instance.completed_steps} == {"charge", "b", "c", "d", "refund", "done"}
    assert executed(stage)["d"] == executed(stage)["refund"] == 1
