"""The commands `events` and `stats`, beside real workers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter

import flows
import pytest
from stage import eventually

pytestmark = pytest.mark.only_on("redis", "both read the store alone, or say what the broker is")


@pytest.fixture
def told(make_stage):
    return make_stage(event_stream=100_000)


def command(stage, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "worker_app", "hephaestus", *words],
        env=stage.environment("client"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(stage, *words):
    process = command(stage, *words)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return shown


def test_events_prints_what_the_stream_keeps_and_follow_goes_on_until_it_is_interrupted(told):
    told.start_workers(1)
    first = told.hephaestus.start_instance(flows.Linear, {"value": 1}, id="e1")
    first.wait(30)
    documents = [json.loads(line) for line in output(told, "events", "--json").splitlines()]
    assert [each["sequence"] for each in documents] == list(range(1, 15))
    assert {each["run_id"] for each in documents} == {first.run_id}
    assert documents[0]["name"] == ["hephaestus", "workflow", "start"]
    assert "acknowledge" not in documents[0]
    assert "step.stop a" in output(told, "events")

    following = command(told, "events", "--follow", "--json")
    assert [json.loads(following.stdout.readline())["sequence"] for _ in range(14)] == list(range(1, 15))
    second = told.hephaestus.start_instance(flows.Linear, {"value": 1}, id="e2")
    assert {json.loads(following.stdout.readline())["run_id"] for _ in range(14)} == {second.run_id}
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=20)
    assert following.returncode == 0


def test_a_reader_that_closes_its_pipe_is_no_error(told):
    told.hephaestus.start_many(flows.Linear, [(f"e{number}", {"value": 1}) for number in range(10)])
    told.start_workers(1)
    following = command(told, "events", "--follow", "--json")
    following.stdout.readline()
    following.stdout.close()
    told.hephaestus.start_many(flows.Linear, [(f"f{number}", {"value": 1}) for number in range(10)])
    assert (following.wait(60), following.stderr.read()) == (1, "")
    following.stderr.close()


def test_events_says_what_to_set_where_the_stream_is_off(make_stage):
    process = command(make_stage(), "events")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "hephaestus_event_stream" in errors


def test_stats_counts_runs_messages_and_what_is_due(told):
    for number in range(3):
        told.hephaestus.start_instance(flows.Approval, {"value": 1}, id=f"s{number}")
    before = json.loads(output(told, "stats", "--json"))
    assert before["runs"] == [{"workflow": "approval", "status": "pending", "runs": 3}]
    assert [(each["messages"], each["unclaimed"]) for each in before["lanes"]] == [(3, 3)]
    assert (before["schedulers"], before["oldest_waiting"]) == ([], None)
    told.start_workers(1)
    finished = told.hephaestus.start_instance(flows.Linear, {"value": 1}, id="s9")
    finished.wait(30)
    eventually(lambda: len(told.hephaestus.list(status="waiting")) == 3, what="three wait")
    after = json.loads(output(told, "stats", "--json"))
    assert Counter({(each["workflow"], each["status"]): each["runs"] for each in after["runs"]}) == {
        ("approval", "waiting"): 3,
        ("linear", "completed"): 1,
    }
    assert (after["started"], after["ended"], after["complete"]) == (4, 1, True)
    assert after["oldest_waiting"] is not None
    assert len(after["schedulers"]) == 1
    assert after["memory"] > 0
    shown = output(told, "stats")
    assert "4 runs began and 1 of them ended in the last 5m" in shown
