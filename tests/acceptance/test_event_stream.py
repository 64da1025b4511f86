"""The durable event stream, on real workers: it has every event that telemetry has, and those that a crash has swallowed."""

from __future__ import annotations

import itertools
from collections import Counter

import flows
import pytest
from stage import eventually

from hephaestus_celery.telemetry.catalogue import names

ONE_BROKER = "what is told does not depend on who carries the messages"
SHAPES = (
    flows.Linear,
    flows.Diamond,
    flows.Choice,
    flows.Routed,
    flows.Payment,
    flows.Straight,
    flows.Roots,
    flows.Naps,
)
MEASURED = {"duration", "queue_time", "wait_duration"}


@pytest.fixture
def told(make_stage):
    """Workers and a client whose event stream keeps everything."""
    return make_stage(event_stream=1_000_000)


def started(stage, count):
    """Runs of all shapes, each with what it waits for; with their workflows."""
    begun = []
    for number in range(count):
        workflow = SHAPES[number % len(SHAPES)]
        handle = stage.hephaestus.start_instance(workflow, {"value": number}, id=f"i{number}")
        if workflow in (flows.Roots, flows.Payment):
            name = "paid" if workflow is flows.Payment else "approved"
            handle.resume(name, {"by": "someone"}, keep_early=True)
        begun.append((handle, workflow))
    return begun


def read_until(stage, complete, *, group="test"):
    """The events of all runs, in the order in which they are read, until ``complete(events)``."""
    found = []
    with stage.hephaestus.events(group) as events:
        for event in events:
            found.append(event)
            event.ack()
            if complete(found):
                return found
    raise AssertionError("the iteration has ended")


def ends(events):
    """How many runs have ended by these events."""
    last = {names.WORKFLOW_STOP, names.WORKFLOW_EXCEPTION, names.WORKFLOW_CANCEL}
    return sum(event.name in last for event in events)


def by_run(events):
    """The events of each run, as they came."""
    found = {}
    for event in events:
        found.setdefault(event.run_id, []).append(event)
    return found


@pytest.mark.only_on("redis", ONE_BROKER)
def test_the_stream_has_what_telemetry_has_of_runs_of_all_shapes(told):
    told.start_workers(2)
    begun = started(told, 40)
    found = by_run(read_until(told, lambda events: ends(events) == 40))
    for handle, workflow in begun:
        emitted = told.emitted(handle.run_id)
        events = found[handle.run_id]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert [".".join(event.name[1:]) for event in events] == [record["event"] for record in emitted]
        assert {(event.id, event.workflow, event.version) for event in events} == {(handle.id, workflow.name, 1)}
        for event, record in zip(events, emitted, strict=True):
            check_fields(event, record["measurements"], record["metadata"])


def check_fields(event, measurements, metadata):
    for name in MEASURED & set(measurements):
        if event.name != names.ENGINE_ADVANCE:
            assert getattr(event, name) == measurements[name], (event, name)
    if event.name[1] == "step":
        assert event.step_key == metadata["step_key"]
        assert event.attempt == metadata.get("attempt", event.attempt)
        assert event.event == metadata.get("event", metadata.get("resume_event"))


@pytest.mark.only_on("redis", ONE_BROKER)
def test_failures_are_told_with_their_kind_reason_and_retry(told):
    told.start_workers(1)
    handle = told.hephaestus.start_instance(flows.Flaky, {"value": 1}, id="f")
    handle.wait(60)
    events = read_until(told, lambda events: ends(events) == 1)
    failed = [event for event in events if event.name == names.STEP_EXCEPTION]
    emitted = [
        record for record in told.emitted(handle.run_id, last="workflow.stop") if record["event"] == "step.exception"
    ]
    assert len(failed) == len(emitted) > 0
    for event, record in zip(failed, emitted, strict=True):
        assert (event.kind, event.attempt) == (record["metadata"]["kind"], record["metadata"]["attempt"])
        assert event.duration == record["measurements"]["duration"]
        assert abs(event.retry_in - record["metadata"]["retry_in"]) < 1000
        assert record["metadata"]["reason"].split(":")[0] in event.reason


@pytest.mark.only_on("redis", ONE_BROKER)
def test_what_is_told_of_a_compensation_says_what_it_undoes_and_in_which_round(told):
    told.start_workers(1)
    handle = told.hephaestus.start_instance(flows.PolledTrips, {"rounds": 1, "after": 0}, id="x1")
    found = read_until(told, lambda events: events[-1].name == names.WORKFLOW_EXCEPTION)
    assert {event.run_id for event in found} == {handle.run_id}
    assert [
        (event.name[-1], event.step_key, event.round, event.compensates)
        for event in found
        if event.compensates is not None or event.round is not None
    ] == [
        ("start", "poll_refund", None, "book_flight"),
        ("async", "poll_refund", 1, "book_flight"),
        ("start", "poll_refund", 2, "book_flight"),
        ("stop", "poll_refund", 2, "book_flight"),
        ("start", "cancel_hotel", None, "book_hotel"),
        ("stop", "cancel_hotel", None, "book_hotel"),
    ]


@pytest.mark.only_on("redis", ONE_BROKER)
def test_what_a_killed_worker_could_not_emit_is_in_the_stream(make_stage):
    told = make_stage(event_stream=1_000_000, lease=2)
    first, second = told.start_workers(2)
    handles = [told.hephaestus.start_instance(flows.Diamond, {"value": n}, id=f"k{n}") for n in range(30)]
    eventually(lambda: len(told.executions()) > 20, what="some steps executed")
    first.kill()
    assert second.process.poll() is None
    assert Counter(handle.wait(120).status for handle in handles) == {"completed": 30}
    found = by_run(read_until(told, lambda events: ends(events) == 30))
    for handle in handles:
        events = found[handle.run_id]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        begun, ended = (
            [event for event in events if event.name in kinds]
            for kinds in ([names.STEP_START], [names.STEP_STOP, names.STEP_EXCEPTION])
        )
        assert Counter((event.step_key, event.attempt) for event in begun) == Counter(
            (event.step_key, event.attempt) for event in ended
        )


@pytest.mark.only_on("redis", ONE_BROKER)
def test_a_reader_that_comes_back_misses_nothing(told):
    told.start_workers(1)
    handles = [told.hephaestus.start_instance(flows.Linear, {"value": n}, id=f"r{n}") for n in range(20)]
    seen = []
    for _ in range(200):  # each reader has five events, and then is gone
        with told.hephaestus.events("again", "one") as events:
            for event in itertools.islice(events, 5):
                seen.append((event.run_id, event.sequence))
                event.ack()
        if {(handle.run_id, 14) for handle in handles} <= set(seen):
            break
    for handle in handles:
        numbers = [number for run_id, number in seen if run_id == handle.run_id]
        assert list(dict.fromkeys(numbers)) == list(range(1, 15))
