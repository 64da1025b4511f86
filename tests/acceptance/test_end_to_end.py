"""Two real workers, a client in another process, a real server."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import flows
import pytest
from stage import eventually

from hephaestus_celery import AmbiguousResumeError, NotWaitingError

SHAPES = (
    flows.Linear,
    flows.Diamond,
    flows.Wide,
    flows.Choice,
    flows.Routed,
    flows.Approval,
    flows.Payment,
    flows.Straight,
)


def started_and_answered(stage, count):
    """Start instances of all shapes at once, and give each that will wait its event; handles with their start times."""
    begun = []
    for number in range(count):
        workflow = SHAPES[number % len(SHAPES)]
        before = time.time_ns()
        handle = stage.hephaestus.start_instance(workflow, {"value": number}, id=f"i{number}")
        begun.append((handle, workflow, before, time.time_ns()))
        if workflow is flows.Approval:
            handle.resume("approved", {"by": "someone"}, keep_early=True)
        if workflow is flows.Payment:
            handle.resume("paid", {"amount": number}, keep_early=True)
    return begun


def expected_steps(workflow, number):
    graph = [step.key for step in workflow.graph.topological_order if step.key != "done"]
    if workflow is flows.Choice:
        graph.remove("right" if number % 2 else "left")
    if workflow is flows.Routed:
        graph = ["a", "c", "d"] if number % 2 else ["a", "b"]
    return Counter(key for key in graph if key != "wait_for_event")


def test_two_hundred_instances_of_mixed_shapes_on_two_workers(stage):
    stage.start_workers(2)
    begun = started_and_answered(stage, 200)
    statuses = Counter(handle.wait(120).status for handle, *_ in begun)
    assert statuses == {"completed": 200}
    eventually(lambda: len(stage.events("workflow.stop")) == 200, what="200 workflow.stop")
    eventually(lambda: all(map(is_whole, by_run(stage.events(), "metadata").values())), what="what comes before each")

    events, executions = by_run(stage.events(), "metadata"), by_run(stage.executions())
    for number, (handle, workflow, before, after) in enumerate(begun):
        emitted = sorted(events[handle.run_id], key=lambda event: event["metadata"]["sequence"])
        names = Counter(event["event"] for event in emitted)
        executed = executions.get(handle.run_id, [])
        assert Counter(record["step"] for record in executed) == expected_steps(workflow, number)
        assert names["workflow.start"] == names["workflow.stop"] == 1
        assert [event["metadata"]["sequence"] for event in emitted] == list(range(1, len(emitted) + 1))
        check_duration(emitted[-1], executed, before, after)


def test_free_ids_long_keys_and_several_first_steps_are_like_any_other(stage):
    stage.start_workers(2)
    values = ["ORD-1001", "ann@example.org", "注文:42%s{}*", "x" * 200]
    handles = [stage.hephaestus.start_instance(flows.Roots, {"value": 1}, id=value) for value in values]
    for value, handle in zip(values, handles, strict=True):
        eventually(lambda handle=handle: handle.get().waiting_steps == {flows.LONG})
        flows.Roots.resume(value, "approved", {"by": value})
        instance = handle.wait(30)
        assert (instance.id, instance.status) == (f"free-id_0::{value}", "completed")
        assert instance.context.steps[flows.LONG.key] == {"by": value}
        assert instance.step_configs == {flows.B: {"n": 1}}
        assert [found.run_id for found in flows.Roots.list(id=value)] == [handle.run_id]
        emitted = stage.emitted(handle.run_id, last="workflow.stop")
        names = Counter(event["event"] for event in emitted)
        assert names["workflow.start"] == 1
        assert emitted[0]["metadata"]["initial_step"] == ["a", "b", flows.LONG.key]
        assert max(len(event["metadata"]["task_id"].encode()) for event in emitted) <= 255
        executed = [record["step"] for record in stage.executions() if record["run_id"] == handle.run_id]
        assert sorted(executed) == sorted(["a", "b", flows.LONG.key, "d"])


def by_run(records, field=None):
    grouped = defaultdict(list)
    for record in records:
        run_id = (record[field] if field else record).get("run_id")
        grouped[run_id].append(record)
    return grouped


def is_whole(events):
    """Whether all events of a run up to its last one are there; those of no run have no numbers."""
    numbers = [event["metadata"]["sequence"] for event in events if "sequence" in event["metadata"]]
    return set(numbers) == set(range(1, max(numbers, default=0) + 1))


def check_duration(stop, executed, before, after):
    """The measured duration against what other clocks saw: the call of start, the last step's body, the last event."""
    tolerance = 50_000_000
    duration = stop["measurements"]["duration"]
    assert duration <= stop["at"] - before + tolerance
    if executed:
        assert duration >= max(record["at"] for record in executed) - after - tolerance


def test_the_workers_share_the_work_and_say_who_they_are(stage):
    stage.start_workers(2, concurrency=1)
    gate = stage.folder / "gate"
    held = [stage.hephaestus.start_instance(flows.Gated, {"gate": str(gate)}, id=f"held{n}") for n in range(2)]
    eventually(lambda: len(stage.executions()) == 2, what="each worker executes one")
    handles = [stage.hephaestus.start_instance(flows.Wide, {"value": n}, id=f"i{n}") for n in range(10)]
    gate.touch()
    for handle in (*held, *handles):
        assert handle.wait(60).status == "completed"
    starts = stage.events("step.start")
    assert {event["metadata"]["hostname"] for event in starts} == {"w0@test", "w1@test"}
    assert all(event["metadata"]["task_id"].startswith(event["metadata"]["run_id"]) for event in starts)
    assert len(stage.events("runner.init")) == 2


@pytest.mark.only_on("redis", why="it is about what is read from the store")
def test_any_process_reads_the_finished_instance(stage):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(flows.Asynchronous, {"value": 1}, id="x1")
    handle.wait(30)
    code = (
        "import worker_app, flows;"
        "i = flows.Asynchronous.get('x1');"
        "print(i.status, i.context.steps['later']['when'].isoformat(), i.context.steps['later']['price'],"
        " sorted(step.key for step in i.completed_steps))"
    )
    output, errors = stage.script(code).communicate(timeout=30)
    assert output.split() == ["completed", "2026-01-02T00:00:00+00:00", "9.90", "['done',", "'later']"], errors


@pytest.mark.only_on("redis", why="the store decides which step an event is for")
def test_a_join_of_two_waits_needs_both_events(stage):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(flows.TwoWaits, {"value": 1}, id="x1")
    eventually(lambda: len(handle.get().waiting_steps) == 2 and handle.get().status == "waiting")
    with pytest.raises(AmbiguousResumeError, match="first, second"):
        handle.resume("go")
    handle.resume("go", {"n": 1}, step=flows.FIRST)
    with pytest.raises(NotWaitingError):
        handle.resume("go", step="first")
    handle.resume("go", {"n": 2})
    instance = handle.wait(30)
    assert instance.context.steps["first"] == {"n": 1}
    assert instance.context.steps["second"] == {"n": 2}


@pytest.mark.only_on("redis", why="it is about what the store keeps")
def test_the_result_of_a_branch_that_outlives_its_run_is_kept_as_discarded(stage):
    stage.start_workers(1, concurrency=2)
    gates = {"gate": str(stage.folder / "gate"), "fail_gate": str(stage.folder / "fail"), "value": 1}
    handle = stage.hephaestus.start_instance(flows.FailsBeside, gates, id="x1")
    eventually(lambda: {"held", "gated_raises"} <= {record["step"] for record in stage.executions()})
    (stage.folder / "fail").touch()
    failed = handle.wait(30)
    assert (failed.status, failed.failed_step) == ("failed", flows.GatedRaises)
    (stage.folder / "gate").touch()
    eventually(lambda: any(entry.outcome == "discarded" for entry in handle.history()))
    eventually(lambda: stage.emitted(handle.run_id, last="workflow.exception")[-1]["event"] == "step.stop")
    after = handle.get()
    assert after.context == failed.context
    numbers = [event["metadata"]["sequence"] for event in stage.events(run_id=handle.run_id)]
    assert numbers == list(range(1, len(numbers) + 1))
