"""Rounds of ``Again`` on real workers: what is told of them, and kills, pauses and cancellations in and between them."""

from __future__ import annotations

import os
import signal

import flows
import pytest
from shell import Shell
from stage import eventually

from hephaestus_celery import NotWaitingError


@pytest.fixture
def stage(make_stage):
    """A stage whose leases run out soon."""
    return make_stage(lease=3.0, dispatch_timeout=1.0)


def polling(stage, value="x1", **context):
    return stage.hephaestus.start_instance(flows.Polling, {"rounds": 3, "after": 0.05, **context}, id=value)


def rounds(stage):
    return [(note["round"], note["attempt"], note["state"].get("seen", [])) for note in stage.notes("round")]


def history(handle):
    return [(entry.kind, entry.step, entry.round, entry.attempt, entry.outcome) for entry in handle.history()]


def gated(stage, number):
    """A run whose step is executed in this round, and the note of the round."""
    handle = polling(stage, gated=number, gate=str(stage.folder / "gate"))
    [executed] = eventually(
        lambda: [note for note in stage.notes("round") if note["round"] == number], what=f"round {number} is executed"
    )
    return handle, executed


def takes_no_event_between_rounds(handle):
    eventually(lambda: handle.get().waiting_steps, what="the step is between two rounds")
    with pytest.raises(NotWaitingError):
        handle.resume("ready")


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_each_round_is_one_start_and_one_async_and_an_entry_of_the_history(stage, pool):
    stage.start_workers(1, pool=pool)
    handle = polling(stage)
    assert handle.wait(30).context.steps["poll"] == {"rounds": 4, "seen": [1, 2, 3]}
    assert rounds(stage) == [(1, 1, []), (2, 1, [1]), (3, 1, [1, 2]), (4, 1, [1, 2, 3])]
    assert history(handle) == [
        ("attempt", "a", None, 1, "completed"),
        ("attempt", "poll", 1, 1, "again"),
        ("attempt", "poll", 2, 1, "again"),
        ("attempt", "poll", 3, 1, "again"),
        ("attempt", "poll", 4, 1, "completed"),
        ("attempt", "b", None, 1, "completed"),
        ("attempt", "done", None, 1, "completed"),
    ]
    events = stage.emitted(handle.run_id)
    of_poll = [event["event"] for event in events if event["metadata"].get("step_key") == "poll"]
    assert of_poll == ["step.start", "step.async"] * 3 + ["step.start", "step.stop"]
    assert "step.resume" not in {event["event"] for event in events}
    told = [event["metadata"] for event in events if event["event"] == "step.async"]
    assert [(each["round"], each["resumes_in"], each["attempt"]) for each in told] == [
        (number, 50_000_000, 1) for number in (1, 2, 3)
    ]
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    tasks = [entry.task_id.removeprefix(handle.run_id) for entry in handle.history() if entry.step == "poll"]
    assert tasks == [":poll:1.1", ":poll::2:1.2", ":poll::3:1.3", ":poll::4:1.4"]


def test_a_process_killed_in_a_round_costs_an_attempt_of_that_round_alone(stage):
    stage.start_workers(1)
    handle, executed = gated(stage, 2)
    os.kill(executed["pid"], signal.SIGKILL)
    assert handle.wait(30).context.steps["poll"] == {"rounds": 4, "seen": [1, 2, 3]}
    assert rounds(stage) == [(1, 1, []), (2, 1, [1]), (2, 2, [1]), (3, 1, [1, 2]), (4, 1, [1, 2, 3])]
    assert history(handle)[1:6] == [
        ("attempt", "poll", 1, 1, "again"),
        ("rescue", "poll", 2, 1, None),
        ("attempt", "poll", 2, 1, "retrying"),
        ("attempt", "poll", 2, 2, "again"),
        ("attempt", "poll", 3, 1, "again"),
    ]
    keys = [note["key"].removeprefix(handle.run_id) for note in stage.notes("round")]
    assert keys == [":poll", ":poll::2", ":poll::2", ":poll::3", ":poll::4"]
    told = [event for event in stage.emitted(handle.run_id) if event["metadata"].get("step_key") == "poll"]
    lost = [(event["event"], event["metadata"]["round"], event["metadata"]["attempt"]) for event in told[3:6]]
    assert lost == [("step.rescue", 2, 1), ("step.exception", 2, 1), ("step.start", 2, 2)]


def test_a_process_killed_before_it_commits_a_round_repeats_that_round(stage):
    stage.switches["HEPHAESTUS_TEST_CUT"] = "again:2"
    stage.start_workers(1, concurrency=1)
    handle = polling(stage, after=0)
    assert handle.wait(30).context.steps["poll"] == {"rounds": 4, "seen": [1, 2, 3]}
    assert rounds(stage) == [(1, 1, []), (2, 1, [1]), (2, 2, [1]), (3, 1, [1, 2]), (4, 1, [1, 2, 3])]


def test_workers_killed_between_two_rounds_cost_nothing(stage):
    [worker] = stage.start_workers(1)
    handle = polling(stage, after=5.0, rounds=1)
    eventually(lambda: handle.get().waiting_steps, what="the step is between two rounds")
    worker.kill()
    stage.start_workers(1)
    assert handle.wait(30).context.steps["poll"] == {"rounds": 2, "seen": [1]}
    assert rounds(stage) == [(1, 1, []), (2, 1, [1])]
    assert [outcome for *_, outcome in history(handle)] == ["completed", "again", "completed", "completed", "completed"]


def test_between_two_rounds_a_run_may_be_paused_and_cancelled_and_no_resume_reaches_it(stage):
    stage.start_workers(1)
    cancelled = polling(stage, "c1", after=600, rounds=1)
    takes_no_event_between_rounds(cancelled)
    paused = polling(stage, "p1", after=4.0, rounds=1)
    takes_no_event_between_rounds(paused)
    stage.hephaestus.pause(paused.id)
    cancelled.cancel("enough")
    assert cancelled.wait(30).status == "cancelled"
    eventually(lambda: paused.get().active_steps, what="the next round is due")
    assert len(rounds(stage)) == 2
    stage.hephaestus.unpause(paused.id)
    assert paused.wait(30).status == "completed"
    again = cancelled.retry()
    assert again.wait(30).context.steps["poll"] == {"rounds": 2, "seen": [1]}
    assert stage.notes("round")[-1]["key"] == f"{cancelled.run_id}:poll::2"


def test_a_run_that_waits_for_its_round_says_so(stage):
    shell = Shell(stage.app)
    stage.start_workers(1)
    handle = polling(stage, after=600)
    eventually(lambda: handle.get().waiting_steps, what="the step is between two rounds")
    shown = shell("show", handle.id).output
    assert "waits for the time when its round 2 begins" in shown
    assert "waiting, round 2" in shown
    assert "again" in shell("history", handle.id).output


def test_a_thousand_rounds_end_with_a_bounded_history(stage):
    stage.start_workers(1, pool="threads", concurrency=1)
    handle = polling(stage, rounds=1000, after=0)
    assert handle.wait(300).context.steps["poll"]["rounds"] == 1001
    entries = [entry for entry in handle.history() if entry.outcome == "again"]
    assert [entry.round for entry in entries] == [*range(1, 101), None, *range(901, 1001)]
    assert entries[100].reason == "stands for 800 rounds"
