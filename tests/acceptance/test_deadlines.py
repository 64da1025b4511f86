"""Deadlines on real workers: of runs that wait, are paused, executed, and of runs that no worker ever takes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import flows
import pytest
from stage import eventually

from hephaestus_celery import NotWaitingError

THOUSANDS = 10_000


@pytest.fixture
def stage(make_stage):
    """A stage with the usual leases, of which none runs out before a deadline."""
    return make_stage()


def failed(stage, handle, *, elsewhere=0):
    """The run, which has failed for its deadline, at its time and told once; so many of its events were told ``elsewhere``."""
    instance = handle.wait(60)
    assert (instance.status, instance.failed_step) == ("failed", None)
    assert (instance.failure.kind, instance.failure.type) == ("exit", "DeadlineExceeded")
    assert instance.failure.message.startswith("the run has not ended within 10 s of its start, 20")
    assert instance.finished_at >= instance.deadline == instance.started_at + flows.TimelyWait.deadline
    events = stage.emitted(handle.run_id, last="workflow.exception", elsewhere=elsewhere)
    [end] = [event for event in events if event["event"] in ("workflow.exception", "workflow.stop")]
    assert (end["metadata"]["kind"], end["metadata"]["failed_step"]) == ("exit", None)
    numbers = [event["metadata"]["sequence"] for event in events]
    assert len(set(numbers)) == len(numbers)
    return instance


def history(handle):
    return [(entry.kind, entry.step, entry.outcome) for entry in handle.history()]


def test_a_run_that_waits_fails_at_its_deadline(stage):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.TimelyWait, {}, id="x1")
    failed(stage, handle)
    assert history(handle) == [
        ("attempt", "a", "completed"),
        ("attempt", "wait_for_event", "waiting"),
        ("timer", None, "completed"),
    ]
    assert handle.history()[-1].reason == "DeadlineExceeded: the run has not ended within 10 s of its start"
    with pytest.raises(NotWaitingError):
        handle.resume("paid")
    assert stage.hephaestus.start_instance(flows.TimelyWait, {}, id="x1").run_id != handle.run_id


def test_a_paused_run_fails_at_its_deadline(stage):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.TimelyWait, {}, id="x1")
    handle.pause()
    failed(stage, handle, elsewhere=1)


def test_a_run_that_no_worker_takes_fails_at_its_deadline(stage):
    stage.start_workers(1, options=["-Q", "elsewhere"])
    handle = stage.hephaestus.start_instance(flows.TimelyWait, {}, id="x1")
    failed(stage, handle)
    assert history(handle) == [("timer", None, "completed")]
    assert [event["event"] for event in stage.events(run_id=handle.run_id)] == ["workflow.exception"]
    stage.start_workers(1)
    later = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="later")
    assert later.wait(60).status == "completed"
    assert {record["run_id"] for record in stage.executions()} == {later.run_id}  # its message is turned away


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_body_learns_of_the_deadline_and_what_it_gives_is_discarded(stage, pool):
    stage.start_workers(1, pool=pool)
    handle = stage.hephaestus.start_instance(flows.TimelyWork, {}, id="x1")
    failed(stage, handle)
    eventually(lambda: ("attempt", "loser", "discarded") in history(handle), what="the body has ended")
    assert history(handle)[1:] == [("timer", None, "completed"), ("attempt", "loser", "discarded")]
    assert "b" not in {record["step"] for record in stage.executions()}


def test_a_deadline_comes_although_all_workers_were_killed(make_stage):
    stage = make_stage(lease=1.0, dispatch_timeout=1.0)
    [victim] = stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.TimelyWork, {}, id="x1")
    eventually(lambda: [one for one in stage.executions() if one["step"] == "loser"], what="the step is executed")
    victim.kill()
    stage.start_workers(1, options=["-Q", "elsewhere"])
    instance = failed(stage, handle, elsewhere=5)  # at most, by processes that were killed before they had told them
    assert {step.key for step in instance.completed_steps} == {"a"}
    found = history(handle)
    after = found[found.index(("timer", None, "completed")) + 1 :]
    assert {outcome for _, _, outcome in after} <= {"discarded"}  # the attempt was lost, and noticed at the same time


@pytest.mark.only_on("redis", why="no message is taken")
def test_ten_thousand_deadlines_that_have_come_are_told_once_each(stage):
    starts = ((f"x{number}", {}) for number in range(THOUSANDS))
    handles = stage.hephaestus.start_many(flows.TimelyWork, starts)
    last = handles[-1].get()
    eventually(lambda: datetime.now(UTC) > last.deadline + timedelta(seconds=1), what="all deadlines have come")
    assert stage.hephaestus.count(status="pending") == THOUSANDS
    stage.start_workers(2, options=["-Q", "elsewhere"])
    eventually(lambda: stage.hephaestus.count(status="failed") == THOUSANDS, timeout=180, what="all have failed")
    run_ids = {handle.run_id for handle in handles}
    told = eventually(
        lambda: len(found := stage.events("workflow.exception")) >= THOUSANDS and found,
        timeout=120,
        what="all are told",
    )
    assert len(told) == THOUSANDS
    assert {event["metadata"]["run_id"] for event in told} == run_ids
    assert {event["metadata"]["kind"] for event in told} == {"exit"}
    assert {event["event"] for event in stage.events()} == {"runner.init", "workflow.exception"}
    for handle in handles[:: THOUSANDS // 20]:
        assert handle.get().failure.type == "DeadlineExceeded"
        assert history(handle) == [("timer", None, "completed")]


def test_the_command_line_names_the_deadline_of_a_run_that_does_not_move(stage):
    stage.start_workers(1, options=["-Q", "elsewhere"])
    handle = stage.hephaestus.start_instance(flows.TimelyWait, {}, id="x1")

    def said(*command):
        found = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "worker_app", "hephaestus", *command],
            env=stage.environment("client"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return found.stdout

    document = json.loads(said("show", handle.run_id, "--json"))
    assert document["deadline"].startswith(f"{handle.get().deadline:%Y-%m-%dT%H:%M:%S}")
    assert "deadline" in said("list") or handle.status == "failed"
    failed(stage, handle)
    assert "DeadlineExceeded: the run has not ended within 10 s of its start" in said("show", handle.run_id)
    assert "timer" in said("history", handle.run_id)
