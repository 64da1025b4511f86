"""Steps with a queue or a priority of their own: every message of theirs has them, whoever sends it."""

from __future__ import annotations

import flows
import pytest
from kombu import Queue
from stage import eventually

FIRST_SERVED = {"redis": flows.One, "rabbitmq": flows.Nine}
"""The workflow whose step has the priority that goes first: the low number with Redis, the high one with RabbitMQ."""


@pytest.fixture
def stage(make_stage):
    # RabbitMQ heeds priorities in queues that were declared with a highest one.
    stage = make_stage(dispatch_timeout=1.0, celery={"task_queue_max_priority": 10})
    stage.drop_messages("express")
    return stage


def test_a_step_runs_only_on_workers_of_its_queue(stage):
    stage.start_workers(1, pool="solo")
    stage.start_workers(1, pool="solo", options=("-Q", "express"))
    handles = [stage.hephaestus.start_instance(flows.Handover, {"value": n}, id=f"i{n}") for n in range(10)]
    for handle in handles:
        assert handle.wait(30).status == "completed"
        starts = [event["metadata"] for event in stage.emitted(handle.run_id) if event["event"] == "step.start"]
        assert [(start["step"], start["hostname"]) for start in starts] == [
            ("a", "w0@test"),
            ("drop", "w1@test"),
            ("b", "w0@test"),
            ("done", "w0@test"),
        ]


def test_every_message_of_a_step_has_its_queue_and_its_priority(stage):
    handle = stage.hephaestus.start_instance(flows.Errand, {"value": 1}, id="x1")
    stage.drop_messages("express", at_least=1)  # so that the first one is sent again by the worker's scheduler
    stage.switches["HEPHAESTUS_TEST_DELIVERIES"] = "1"
    stage.start_workers(1, pool="solo", options=("-Q", "express"))
    eventually(lambda: handle.get().waiting_steps == {flows.Confirm}, what="the step waits for its event")
    handle.resume("confirmed")
    assert handle.wait(30).status == "completed"
    assert [entry.kind for entry in handle.history()] == [
        *("rescue", "attempt", "attempt"),
        *("attempt", "timer"),
        *("attempt", "resume"),
        *("attempt", "attempt"),
    ]
    tasks = ["pick", "pick", "rest", "rest", "confirm", "confirm", "drop"]
    assert [(each["task"], each["queue"], each["priority"]) for each in stage.deliveries()] == [
        (f"errand.{step}", "express", 5) for step in tasks
    ]


def test_steps_of_higher_priority_overtake_those_that_wait(stage, broker):
    stage.start_workers(1, pool="solo", concurrency=1)
    # A worker limits what it prefetches a moment after it says that it is ready.
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="before").wait(30).status == "completed"
    gate = stage.folder / "gate"
    stage.hephaestus.start_instance(flows.Gated, {"gate": str(gate)}, id="x1")
    eventually(lambda: stage.executions()[-1]["step"] == "gate", what="the worker is busy")
    first = FIRST_SERVED[broker]
    second = flows.Nine if first is flows.One else flows.One
    handles = [
        stage.hephaestus.start_instance(workflow, {"value": number}, id=f"i{number}")
        for workflow in (second, first)
        for number in range(5)
    ]
    eventually(lambda: stage.waiting_messages() == len(handles), what="the messages wait")
    gate.touch()
    for handle in handles:
        assert handle.wait(30).status == "completed"
    taken = [record["step"] for record in stage.executions() if record["step"].startswith("priority")]
    assert taken == 5 * [first.initial_step.key] + 5 * [second.initial_step.key]


def test_a_step_that_names_neither_has_those_that_the_application_gives_it(stage):
    stage.switches["HEPHAESTUS_TEST_DELIVERIES"] = "1"
    given = {"task_default_priority": 7, "task_annotations": {"linear.b": {"queue": "express", "priority": 3}}}
    stage.settings.update(given)
    stage.app.conf.update(given)
    stage.start_workers(1, pool="solo", options=("-Q", f"{stage.namespace},express"))
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1").wait(30).status == "completed"
    assert [(each["task"], each["queue"], each["priority"]) for each in stage.deliveries()] == [
        ("linear.a", stage.namespace, 7),
        ("linear.b", "express", 3),
    ]


def test_a_message_that_the_broker_refuses_keeps_no_other_back(stage, broker):
    stage.start_workers(1, pool="solo")
    with stage.app.connection_for_write() as connection:
        spoil(connection.default_channel, "express", broker)
        handle = stage.hephaestus.start_instance(flows.Scatter, {"value": 1}, id="x1")
        eventually(lambda: handle.get().active_steps == {flows.Drop}, what="all is done but the step of that queue")
        assert "the message for step drop of run" in stage.logs()
        eventually(lambda: [entry.kind for entry in handle.history()].count("rescue") > 0, what="it is sent again")
        retried = stage.hephaestus.start_instance(flows.Flaky, {"value": 1}, id="x1")
        assert retried.wait(30).status == "completed"
        repair(connection.default_channel, "express", broker)
    stage.start_workers(1, pool="solo", options=("-Q", "express"))
    assert handle.wait(30).status == "completed"


def spoil(channel, queue, broker):
    """Have the broker refuse what is sent to a queue: as what is there is of another kind."""
    repair(channel, queue, broker)
    if broker == "rabbitmq":
        Queue(queue, queue_arguments={"x-max-priority": 3})(channel).declare()
    else:
        for priority in channel.priority_steps:
            channel.client.set(channel._q_for_pri(queue, priority), "no list")


def repair(channel, queue, broker):
    if broker == "rabbitmq":
        Queue(queue)(channel).delete()
    else:
        channel.client.delete(*(channel._q_for_pri(queue, priority) for priority in channel.priority_steps))
