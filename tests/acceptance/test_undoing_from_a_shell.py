"""What commands print of runs with rounds and compensations, on real workers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import flows
import pytest
from shell import Shell
from stage import eventually

pytestmark = pytest.mark.only_on("redis", why="no command cares which broker there is")


@pytest.fixture
def stage(make_stage):
    return make_stage(event_stream=100_000)


@pytest.fixture
def shell(stage):
    return Shell(stage.app)


@pytest.fixture
def undone(stage):
    """A run that has failed, and has undone what had completed."""
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Stays, {}, id="1")
    handle.wait(30)
    return handle


@pytest.fixture
def paying(stage):
    """A run that holds a worker until a file is there, and that file."""
    stage.start_workers(1)
    gate = stage.folder / "gate"
    handle = stage.hephaestus.start_instance(flows.Stays, {"gate": str(gate)}, id="1")
    eventually(lambda: "pay_trip" in [record["step"] for record in stage.executions()], what="it pays")
    return handle, gate


def words(line):
    return " ".join(line.split())


def test_a_page_has_the_rounds_and_what_was_undone(undone, shell):
    shown = shell("show", "stays::1").lines
    assert "  1 of 1 steps that had completed are undone" in shown
    [looked, paid, _, gave_up] = [words(line) for line in shown[shown.index("") + 1 :][:4]]
    assert looked.startswith("✓ look_for_room completed, round 3 ")
    assert looked.endswith("done → pay_trip")
    assert paid.startswith("✗ pay_trip failed ")
    assert gave_up.startswith("✓ give_room_up completed, round 2 ")
    assert gave_up.endswith(" undoes look_for_room")


def test_a_history_has_the_rounds_and_what_each_compensation_undoes(undone, shell):
    heading, *lines = shell("history", "stays::1").lines
    assert words(heading).startswith("SEQ TIME KIND STEP ROUND TRY OUTCOME EVENT ")
    told = [words(line.split("Z  ")[1]) for line in lines]
    assert [line.partition(" again")[0] for line in told if " again" in line] == [
        "attempt look_for_room 1 1",
        "attempt look_for_room 2 1",
        "attempt give_room_up (undoes look_for_room) 1 1",
    ]
    assert told[-1].startswith("attempt give_room_up (undoes look_for_room) 2 1 completed done ")
    entries = shell("history", "stays::1", "--json").document
    assert [(entry["step"], entry["round"], entry["compensates"]) for entry in entries] == [
        ("look_for_room", 1, None),
        ("look_for_room", 2, None),
        ("look_for_room", 3, None),
        ("pay_trip", None, None),
        ("give_room_up", 1, "look_for_room"),
        ("give_room_up", 2, "look_for_room"),
    ]


def test_a_document_has_the_steps_that_are_undone_apart_from_those_that_undo(undone, shell):
    for command in ("show", "wait"):
        document = shell(command, "stays::1", "--json").document
        assert document["completed_steps"] == ["look_for_room"]
        assert (document["compensating"], document["compensated"]) == (False, ["look_for_room"])
        assert document["uncompensated"] == []
    [row] = shell("list", "--json").document
    assert (row["completed_steps"], row["compensating"]) == (["look_for_room"], False)


def test_the_stream_tells_of_rounds_and_once_of_the_undoing(undone, shell):
    names = Counter(".".join(each["name"][1:]) for each in map(json.loads, shell("events", "--json").lines))
    assert (names["workflow.compensate"], names["step.async"]) == (1, 3)
    [line] = [line for line in shell("events").lines if "workflow.compensate" in line]
    assert " stays::1 " in line


def test_a_watch_in_a_pipe_tells_rounds_and_what_is_undone(stage):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Stays, {}, id="1")
    shown = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker_app", "hephaestus", "watch", handle.id],
        env=stage.environment("client"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 10, shown.stderr
    [*told, _] = [line.partition("Z ")[2].partition(" after ") for line in shown.stdout.splitlines()]
    assert [(what, how.partition(", ")[2]) for what, _, how in told] == [
        ("look_for_room, round 1, attempt 1 ended", "and another round follows"),
        ("look_for_room, round 2, attempt 1 ended", "and another round follows"),
        ("look_for_room, round 3, attempt 1 completed with done", ""),
        ("pay_trip, attempt 1 failed", ""),
        ("give_room_up (undoes look_for_room), round 1, attempt 1 ended", "and another round follows"),
        ("give_room_up (undoes look_for_room), round 2, attempt 1 completed with done", ""),
    ]


def test_a_cancel_that_undoes_says_so_and_a_second_one_is_refused(paying, shell):
    handle, gate = paying
    done = shell("cancel", "stays::1", "--compensate", "--reason", "rain", "--by", "ada")
    assert done.lines == [
        f"{handle.run_id} undoes what has completed, and is cancelled then; still being executed: pay_trip"
    ]
    assert "  undoes what had completed: 0 of 1 undone; then it ends" in shell("show", "stays::1").lines
    assert shell("show", "stays::1", "--json").document["compensating"] is True
    again = shell("cancel", "stays::1", "--compensate")
    assert (again.code, again.output) == (4, "")
    assert "is undoing already what had completed" in again.errors
    gate.touch()
    ended = shell("wait", "stays::1", "--json")
    assert (ended.code, ended.document["status"], ended.document["cancel_reason"]) == (11, "cancelled", "rain")
    assert ended.document["compensated"] == ["look_for_room"]
    assert "  cancelled: rain" in shell("show", "stays::1").lines


def test_a_document_of_a_cancel_that_undoes_says_that_the_run_goes_on(paying, shell):
    handle, gate = paying
    found = shell("cancel", handle.run_id, "--compensate", "--json").document
    assert found == {"run_id": handle.run_id, "status": "running", "executing": ["pay_trip"], "interrupted": []}
    gate.touch()
    assert shell("wait", handle.run_id).code == 11


def test_a_retry_of_a_run_that_has_undone_runs_again_what_was_undone(undone, shell):
    assert shell("retry", "stays::1", "--context", '{"gate": "/dev/null"}').code == 0
    assert shell("wait", "stays::1").code == 10
    entries = shell("history", "stays::1", "--json").document
    assert next(entry["kind"] for entry in entries) == "fork"
    assert [entry["round"] for entry in entries if entry["step"] == "look_for_room"] == [1, 2, 3]
    assert f"retry of run {undone.run_id}" in shell("show", "stays::1").lines


def test_graphs_have_compensations_failure_edges_and_counted_joins(shell):
    lines = shell("graph", "trips").lines
    assert {"book_hotel is undone by cancel_hotel", "book_flight is undone by cancel_flight"} <= set(lines)
    assert ' -- "undo" --o ' in shell("graph", "trips", "--mermaid").output
    document = shell("graph", "trips", "--json").document
    assert document["compensations"] == {"book_hotel": "cancel_hotel", "book_flight": "cancel_flight"}
    assert "charge ==@failed==> refund" in shell("graph", "refunds").lines
    edges = shell("graph", "refunds", "--json").document["edges"]
    assert {"source": "charge", "event": "@failed", "target": "refund", "dynamic": False} in edges
    assert shell("graph", "race", "--json").document["compensations"] == {}


def test_a_list_of_workflows_has_compensations_behind_the_steps(shell):
    known = {each["workflow"]: each for each in shell("workflows", "--json").document}
    assert known["stays"]["steps"] == ["look_for_room", "pay_trip", "done"]
    assert known["stays"]["compensations"] == {"look_for_room": "give_room_up"}
    [line] = [line for line in shell("workflows").lines if line.startswith("stays ")]
    assert words(line).endswith(" 3 look_for_room, pay_trip, done; undone by give_room_up")
