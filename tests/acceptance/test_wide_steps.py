"""A step of hundreds of branches, which are started in slices, on real workers that die in the middle of it."""

from __future__ import annotations

import signal
from collections import Counter

import flows
import pytest
from stage import eventually

from hephaestus_celery.storage.redis.wide_steps import SLICE

EVERY = {one.key: 1 for one in flows.THRONG}


@pytest.fixture
def stage(make_stage, broker):
    """Messages count as lost soon where some are lost, and only after longer than a process ever rests where none is."""
    return make_stage(dispatch_timeout=1.0 if broker == "rabbitmq" else 60.0)


def executed(stage):
    """How often each step's body ran."""
    return Counter(entry["step"] for entry in stage.executions())


def test_each_branch_runs_once_although_who_starts_them_is_killed(stage, broker):
    stage.switches["HEPHAESTUS_TEST_CUT"] = "settle:2"
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Vast, {}, id="vast")
    instance = stage.outcome(handle, timeout=300)
    assert instance.status == "completed", instance.failure
    assert (stage.folder / "cut").exists()
    assert executed(stage) == {**EVERY, "a": 1, "d": 1}
    assert len(instance.context.steps) == len(EVERY) + 3
    emitted = stage.emitted(handle.run_id, elsewhere=5)  # at most, of the step whose process was killed
    assert [event["event"] for event in emitted[-3:]] == ["step.stop", "workflow.transition", "workflow.stop"]
    starts = len(EVERY) + 3
    eventually(lambda: len(stage.events("step.start", run_id=handle.run_id)) >= starts, what="all starts are told")
    assert len(stage.events("step.start", run_id=handle.run_id)) == starts

    def rescued():
        return {event["metadata"]["step_key"] for event in stage.events("step.rescue", run_id=handle.run_id)}

    # What was sent with the first slice has come; where the store does not send, its messages died with the process.
    if broker == "redis":
        assert rescued() == set()
    else:  # on a busy machine a few more are late by the dispatch timeout of a second
        eventually(lambda: len(rescued()) >= SLICE, what="those that were lost are told of")
        assert len(rescued()) < len(EVERY) // 2


@pytest.mark.only_on("rabbitmq", "where the broker is the store's server, they are sent with what makes them due")
def test_a_start_of_hundreds_is_gone_on_with_when_who_started_is_killed(stage):
    stage.switches["HEPHAESTUS_TEST_CUT"] = "settle:2"
    code = "import flows, worker_app; worker_app.hephaestus.start_instance(flows.Crowd, {}, id='crowd')"
    client = stage.script(code)
    _, errors = client.communicate(timeout=60)
    assert client.returncode == -signal.SIGKILL, errors
    [listed] = stage.hephaestus.list(id="crowd::crowd")
    assert listed.status == "pending"
    stage.start_workers(1)
    instance = stage.hephaestus.wait("crowd::crowd", 300)
    assert instance.status == "completed", instance.failure
    assert executed(stage) == {**EVERY, "d": 1}


@pytest.mark.only_on("redis", "what the events say does not depend on it")
def test_the_events_of_a_step_name_all_that_it_started(stage):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Vast, {}, id="whole")
    assert stage.outcome(handle, timeout=300).status == "completed"
    emitted = stage.emitted(handle.run_id)
    [stop] = [event for event in emitted if event["event"] == "step.stop" and event["metadata"]["step_key"] == "a"]
    assert stop["metadata"]["transitions_to"] == [one.key for one in flows.THRONG]
    advances = [event["measurements"] for event in emitted if event["event"] == "engine.advance"]
    assert max(advance["active_steps_count"] for advance in advances) > 600
    numbers = [event["metadata"]["sequence"] for event in emitted]
    assert numbers == list(range(1, len(numbers) + 1))
    eventually(lambda: not stage.waiting_messages(), what="no message is left")
