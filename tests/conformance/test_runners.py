"""One suite for every runner: the same workflows give the same events in the same order, and the same instances."""

from __future__ import annotations

import flows
import odd
import pytest
from stage import Stage, eventually

from hephaestus_celery import Hephaestus
from hephaestus_celery.telemetry.formatting import reason_label
from hephaestus_celery.testing import EventCapture

RUNNERS = ["local", "celery-solo", "celery-prefork", "celery-threads", "celery-gevent", "celery-eventlet"]


class LocalStage:
    """The LocalRunner, with what tests ask of a stage."""

    def __init__(self, capture):
        self.hephaestus = Hephaestus(name="local")
        self._capture = capture

    def told(self, run_id, *, last="workflow.stop"):
        def events():
            return [event for event in self._capture.events if event.metadata.get("run_id") == run_id]

        eventually(lambda: any(".".join(event.event[1:]) == last for event in events()))
        return [
            {
                "event": ".".join(event.event[1:]),
                "measurements": dict(event.measurements),
                "metadata": {name: plain(value) for name, value in event.metadata.items()},
            }
            for event in events()
        ]


def plain(value):
    if issubclass(type(value), BaseException):  # isinstance() asks the exception, which may be any
        return reason_label(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, type):
        return getattr(value, "key", None) or getattr(value, "name", None)
    return value


@pytest.fixture(scope="module", params=RUNNERS)
def stage(request, tmp_path_factory):
    kind, _, pool = request.param.partition("-")
    if kind == "local":
        with EventCapture() as capture:
            stage = LocalStage(capture)
            yield stage
            stage.hephaestus.close()
        return
    url = request.getfixturevalue("redis_url")
    stage = Stage(broker=url, state=url, namespace=f"conformance-{pool}", folder=tmp_path_factory.mktemp(pool))
    # One at a time: then one process tells everything, and its order is fixed.
    stage.start_workers(1, pool=pool, concurrency=1)
    yield stage
    stage.close()


def trace(events):
    """Each event with what it is about: `step.start a`, `transition a->[b]`, `advance 2`."""
    return [_line(event["event"], event["metadata"]) for event in events]


def _line(name, metadata):
    match name:
        case "workflow.transition":
            return f"transition {metadata['from_step']}-{metadata['event']}->[{', '.join(metadata['targets'])}]"
        case "engine.advance":
            return f"advance {metadata['iteration']} {metadata['status_before']}->{metadata['status_after']}"
        case _ if name.startswith("step."):
            return f"{name} {metadata['step']}"
        case _:
            return name


def numbers(events):
    return [event["metadata"]["sequence"] for event in events]


def start(stage, workflow, value=1, **options):
    return stage.hephaestus.start_instance(workflow, {"value": value}, id="x1", **options)


def test_limits_and_waits_may_be_the_longest_that_there_are(stage):
    handle = start(stage, flows.ForEver)
    eventually(lambda: handle.get().waiting_steps == {flows.Unending, flows.Wait}, what="it waits")
    handle.resume("done")
    eventually(lambda: flows.Unending in handle.get().completed_steps, what="the event is applied")
    assert handle.get().status == "waiting"
    handle.cancel()


def test_a_linear_workflow_gives_exactly_this_trace(stage):
    handle = start(stage, flows.Linear)
    handle.wait(30)
    events = stage.told(handle.run_id)
    assert trace(events) == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start a",
        "step.stop a",
        "transition a-done->[b]",
        "advance 2 running->running",
        "step.start b",
        "step.stop b",
        "transition b-done->[done]",
        "advance 3 running->completed",
        "step.start done",
        "step.stop done",
        "transition done-done->[]",
        "workflow.stop",
    ]
    assert numbers(events) == list(range(1, 15))
    stop = events[-1]
    assert (stop["measurements"]["step_count"], stop["measurements"]["advance_count"]) == (3, 3)
    assert stop["metadata"]["completed_steps"] == ["a", "b", "done"]
    assert stop["metadata"]["status"] == "completed"


def test_a_diamond_joins_once(stage):
    handle = start(stage, flows.Diamond)
    instance = handle.wait(30)
    events = stage.told(handle.run_id)
    lines = trace(events)
    assert lines[:6] == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start a",
        "step.stop a",
        "transition a-done->[b, c]",
        "advance 2 running->running",
    ]
    assert sorted(line for line in lines if line.startswith("transition")) == sorted(
        [
            "transition a-done->[b, c]",
            *(["transition b-done->[]", "transition c-done->[d]"] if joined_by(lines) == "c" else []),
            *(["transition c-done->[]", "transition b-done->[d]"] if joined_by(lines) == "b" else []),
            "transition d-done->[done]",
            "transition done-done->[]",
        ]
    )
    assert sorted(numbers(events)) == list(range(1, len(events) + 1))
    assert lines.count("step.start d") == 1
    assert instance.context.steps == {
        "a": {"by": "a"},
        "b": {"by": "b"},
        "c": {"by": "c"},
        "d": {"by": "d"},
        "done": {},
    }


def joined_by(lines):
    return "b" if "transition b-done->[d]" in lines else "c"


def test_what_is_not_chosen_is_skipped_and_a_merge_waits_for_neither(stage):
    handle = start(stage, flows.Choice, value=1)
    instance = handle.wait(30)
    lines = trace(stage.told(handle.run_id))
    assert "step.start right" not in lines
    assert {step.key for step in instance.skipped_steps} == {"right"}
    assert {step.key for step in instance.completed_steps} == {"a", "b", "choose", "left", "merge", "done"}
    assert lines.count("step.start merge") == 1


@pytest.mark.parametrize(("value", "path"), [(1, ["a", "c", "d", "done"]), (2, ["a", "b", "done"])])
def test_a_route_chooses_with_the_context(stage, value, path):
    handle = start(stage, flows.Routed, value=value)
    instance = handle.wait(30)
    assert [line.split()[1] for line in trace(stage.told(handle.run_id)) if line.startswith("step.stop")] == path
    assert dict(instance.step_configs) == ({flows.D: {"tier": "gold"}} if value == 1 else {})


def test_a_resumed_step_has_no_stop_but_a_resume(stage):
    handle = start(stage, flows.Approval)
    eventually(lambda: handle.get().status == "waiting")
    assert handle.get().current_step is flows.Ask
    handle.resume("approved", {"by": "anna"})
    instance = handle.wait(30)
    events = stage.told(handle.run_id)
    assert trace(events)[5:] == [
        "advance 2 running->running",
        "step.start ask",
        "step.async ask",
        "step.resume ask",
        "transition ask-approved->[b]",
        "advance 3 waiting->running",
        "step.start b",
        "step.stop b",
        "transition b-done->[done]",
        "advance 4 running->completed",
        "step.start done",
        "step.stop done",
        "transition done-done->[]",
        "workflow.stop",
    ]
    assert numbers(events) == list(range(1, len(events) + 1))
    assert instance.context.steps["ask"] == {"by": "anna"}
    waiting, resume = events[7], events[8]
    assert waiting["metadata"]["instance_status"] == "waiting"
    assert (resume["metadata"]["resume_event"], resume["metadata"]["source"]) == ("approved", "external")
    assert resume["measurements"]["wait_duration"] > 0
    kinds = [(entry.kind, entry.step, entry.outcome, entry.event) for entry in handle.history()]
    assert kinds == [
        ("attempt", "a", "completed", "done"),
        ("attempt", "ask", "waiting", None),
        ("resume", "ask", "completed", "approved"),
        ("attempt", "b", "completed", "done"),
        ("attempt", "done", "completed", "done"),
    ]


def test_an_early_event_is_kept_and_delivered_when_its_step_waits(stage):
    handle = start(stage, flows.Payment)
    handle.resume("paid", {"amount": 3}, keep_early=True)
    instance = handle.wait(30)
    assert instance.context.steps["wait_for_event"] == {"amount": 3}
    assert trace(stage.told(handle.run_id)).count("step.resume wait_for_event") == 1


def test_a_failed_step_fails_its_run(stage):
    handle = start(stage, flows.FAILING[flows.Raises])
    instance = handle.wait(30)
    events = stage.told(handle.run_id, last="workflow.exception")
    assert trace(events) == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start raises",
        "step.exception raises",
        "workflow.exception",
    ]
    assert numbers(events) == [1, 2, 3, 4, 5]
    assert instance.status == "failed"
    assert instance.failed_step is flows.Raises
    assert events[-1]["metadata"]["failed_step"] == "raises"
    assert "it broke" in str(events[-1]["metadata"]["reason"])


def test_a_workflow_that_begins_with_done_completes(stage):
    handle = start(stage, flows.Straight)
    assert handle.wait(30).status == "completed"
    assert trace(stage.told(handle.run_id)) == [
        "workflow.start",
        "advance 1 pending->running",
        "step.start done",
        "step.stop done",
        "transition done-done->[]",
        "workflow.stop",
    ]


def test_the_telemetry_metadata_of_the_caller_is_in_every_event(stage):
    handle = start(stage, flows.Linear, telemetry_metadata={"tenant": "acme"})
    handle.wait(30)
    events = stage.told(handle.run_id)
    assert {event["metadata"]["tenant"] for event in events} == {"acme"}
    assert {event["metadata"]["run_id"] for event in events} == {handle.run_id}
    assert {event["metadata"]["workflow_version"] for event in events} == {1}


def test_an_async_step_is_run_to_its_end(stage):
    instance = start(stage, flows.Asynchronous).wait(30)
    assert str(instance.context.steps["later"]["price"]) == "9.90"
    assert instance.context.steps["later"]["when"].utcoffset().total_seconds() == 0


def failure_of(instance):
    """The kind of a run's failure, and its type without the module that it was defined in here."""
    return instance.failure.kind, instance.failure.type.rpartition(".")[2]


def test_whatever_a_step_raises_is_a_failed_attempt_with_a_reason(stage):
    handles = {
        name: stage.hephaestus.start_instance(odd.Odd, {"odd": name}, id=name.replace("-", "")) for name in odd.ODD
    }
    for name, (_, kind, type_name) in odd.ODD.items():
        instance = handles[name].wait(60)
        assert (instance.status, *failure_of(instance)) == ("failed", kind, type_name.rpartition(".")[2]), name
        assert instance.failure.message is not None
        told = stage.told(handles[name].run_id, last="workflow.exception")
        assert trace(told)[2:] == [
            *("step.start raise_it", "step.exception raise_it", "step.start raise_it", "step.exception raise_it"),
            "workflow.exception",
        ], name
        assert numbers(told) == list(range(1, len(told) + 1))
        outcomes = [(entry.kind, entry.outcome) for entry in handles[name].history()]
        assert outcomes == [("attempt", "retrying"), ("attempt", "failed")], name
    # Nobody was lost, and everybody goes on.
    assert start(stage, flows.Linear).wait(30).status == "completed"


def test_whatever_fails_between_a_claim_and_its_commit_is_a_failed_attempt(stage):
    handles = {
        name: stage.hephaestus.start_instance(workflow, {"place": place, "waits": waits}, id=name.replace("-", ""))
        for name, (workflow, place, waits, _, _) in odd.BREAKING.items()
    }
    for name, handle in handles.items():
        if name.endswith("resume"):
            handle.resume("later", {"a": 1}, keep_early=True)
    for name, (_, _, _, kind, type_name) in odd.BREAKING.items():
        instance = handles[name].wait(60)
        assert (instance.status, *failure_of(instance)) == ("failed", kind, type_name), name
        entries = [(entry.kind, entry.outcome) for entry in handles[name].history() if entry.outcome != "waiting"]
        outcomes = ["failed"] if name in odd.FOR_GOOD else ["retrying", "failed"]
        assert entries == [("attempt", outcome) for outcome in outcomes], name
        told = stage.told(handles[name].run_id, last="workflow.exception")
        assert numbers(told) == list(range(1, len(told) + 1)), name
    assert start(stage, flows.Linear).wait(30).status == "completed"
