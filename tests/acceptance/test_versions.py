"""Workers of different deployments, and runs that stay on the version that they were started with."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import flows
import pytest
import result_flows
import tour_flows
from stage import SUPPORT, eventually

START = "import worker_app, flows; print(flows.{}.start('x1', {{'value': 1}}).run_id); worker_app.hephaestus.close()"

BEFORE = """

class Charge(Recorded): ...


class Refund(Recorded): ...


class Quorum(Workflow):
    name = "quorum"
    unique = Unique("quorum")
    initial_step = Charge
    transitions = {
        (Charge, "done"): [B, C],
        (B, "done"): D,
        (C, "done"): D,
        (D, "done"): Refund,
        (Refund, "done"): Done,
    }
"""
"""What the older code says of a workflow that has got a ``FAILED`` transition and a counted join since."""
WITHOUT = """

class Poll(Recorded):
    events = ("ready",)


class Polling(Workflow):
    name = "polling"
    unique = Unique("polling")
    initial_step = A
    transitions = {(A, "done"): Poll, (Poll, "ready"): B, (B, "done"): Done}


class Loser(Recorded): ...


class TimelyWork(Workflow):
    name = "timely_work"
    unique = Unique("timely")
    initial_step = A
    transitions = {(A, "done"): Loser, (Loser, "done"): B, (B, "done"): Done}


class BookHotel(Recorded): ...


class BookFlight(Recorded): ...


class PayTrip(Recorded): ...


class Trips(Workflow):
    name = "trips"
    unique = Unique("trips")
    initial_step = BookHotel
    transitions = {(BookHotel, "done"): BookFlight, (BookFlight, "done"): PayTrip, (PayTrip, "done"): Done}


class GivesAfterOne(Workflow):
    name = "gives_after_one"
    unique = Unique("giving")
    initial_step = A
    transitions = {(A, "done"): Done}


class PollApart(Poll):
    queue = "tours-apart"


class Rolled(Workflow):
    name = "rolled"
    unique = Unique("rolled")
    initial_step = [PollApart, Gate]
    transitions = {(PollApart, "ready"): B, (Gate, "done"): B, (B, "done"): Done}
"""
"""What it says of workflows that have got a step with rounds, a deadline, compensations and a result."""


@pytest.fixture
def stage(make_stage):
    return make_stage(dispatch_timeout=0.5)


def started_by_new_code(stage, workflow):
    """A worker of the old code, which is the only one, and the id of a run that the new code has started.

    It has one process, for each says by itself what it does not know.
    """
    stage.switches["HEPHAESTUS_TEST_VERSION"] = "1"
    [old] = stage.start_workers(1, concurrency=1)
    stage.switches["HEPHAESTUS_TEST_VERSION"] = "2"
    output, errors = stage.script(START.format(workflow)).communicate(timeout=30)
    assert output.strip(), errors
    return old, output.strip()


@pytest.mark.only_on("redis", why="the store refuses the claims")
def test_a_version_that_a_worker_does_not_know_is_left_for_one_that_does(stage):
    old, run_id = started_by_new_code(stage, "Evolving")
    note = "does not know workflow evolving version 2"
    eventually(lambda: note in old.log.read_text())
    eventually(lambda: old.log.read_text().count("evolving.a[") > 4, what="its message is sent again")
    assert old.log.read_text().count(note) == 1
    assert stage.hephaestus.get(run_id).status == "pending"
    stage.start_workers(1)
    assert stage.hephaestus.wait(run_id, 60).status == "completed"
    assert stage.hephaestus.get(run_id).workflow_version == 2
    assert "Traceback" not in old.log.read_text()


def test_a_workflow_that_a_worker_does_not_know_is_left_for_one_that_does(stage):
    old, run_id = started_by_new_code(stage, "Novel")
    note = "does not know workflow novel version 1"
    eventually(lambda: note in old.log.read_text())
    eventually(lambda: old.log.read_text().count("unregistered task of type 'novel.a'") > 1, what="it is sent again")
    assert old.log.read_text().count(note) == 1
    assert stage.hephaestus.get(run_id).status == "pending"
    stage.start_workers(1)
    assert stage.hephaestus.wait(run_id, 60).status == "completed"


@pytest.mark.only_on("redis", why="each is a workflow like others")
def test_the_versions_of_an_umbrella_run_side_by_side(stage):
    stage.start_workers(1)
    first = stage.hephaestus.start_instance(flows.Track, {"value": 1}, id="x1", version=1)
    second = stage.hephaestus.start_instance(flows.Track, {"value": 1}, id="x2")
    assert (first.wait(30).workflow, second.wait(30).workflow) == (flows.TrackV1, flows.TrackV2)
    assert len(first.get().completed_steps) == 2
    assert len(second.get().completed_steps) == 3
    assert [instance.id for instance in stage.hephaestus.list(workflow=flows.Track)] == ["track::x2", "track::x1"]
    assert [instance.id for instance in stage.hephaestus.list(workflow=flows.TrackV1)] == ["track::x1"]


@pytest.mark.only_on("redis", why="both sides talk to one store, whatever the broker")
def test_a_worker_of_older_code_leaves_runs_with_failed_transitions_and_counted_joins_alone(stage, code_of_plain_edges):
    with (code_of_plain_edges[0] / "flows.py").open("a") as older_flows:
        older_flows.write(BEFORE)
    stage.path = code_of_plain_edges
    [older] = stage.start_workers()
    handles = [stage.hephaestus.start_instance(flows.Quorum, {"way": "raise"}, id=f"x{number}") for number in range(2)]
    plain = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="plain")
    assert stage.outcome(plain).status == "completed"
    eventually(lambda: "a newer hephaestus-celery has written (schema 3" in older.log.read_text(), what="it says so")
    assert {note["run_id"] for note in stage.executions()} == {plain.run_id}
    assert {handle.status for handle in handles} == {"pending"}
    stage.path = [SUPPORT]
    stage.start_workers()  # beside the older one, which goes on taking messages of these runs
    for handle in handles:
        instance = stage.outcome(handle)
        assert {step.key for step in instance.completed_steps} == {"charge", "b", "c", "d", "refund", "done"}
        assert instance.context.failure(flows.Charge).message == "declined"
    ran = Counter((note["run_id"], note["step"]) for note in stage.executions())
    assert {ran[handle.run_id, step] for handle in handles for step in ("b", "c", "d", "refund")} == {1}
    assert {ran[handle.run_id, "charge"] for handle in handles} == {2}
    assert "Traceback" not in older.log.read_text()


def beside_older(stage, older_code, flows_of_older):
    """Let the next workers run the older code, which knows these workflows besides."""
    with (older_code[0] / "flows.py").open("a") as older_flows:
        older_flows.write(flows_of_older)
    stage.path = older_code
    return stage.start_workers()[0]


def ran(stage, handle):
    return Counter(note["step"] for note in stage.executions() if note["run_id"] == handle.run_id)


def pids_of(stage, *handles):
    """The processes that have executed steps of these runs."""
    return {note["pid"] for note in stage.executions() if note["run_id"] in {handle.run_id for handle in handles}}


def history(handle):
    return [(entry.kind, entry.step, entry.attempt, entry.outcome) for entry in handle.history()]


@pytest.mark.only_on("redis", why="both sides talk to one store, whatever the broker")
def test_a_worker_of_older_code_leaves_runs_with_a_deadline_compensations_or_a_result_alone(stage, code_of_plain_edges):
    stage.switches["HEPHAESTUS_TEST_DELIVERIES"] = "1"
    older = beside_older(stage, code_of_plain_edges, WITHOUT)
    hephaestus = stage.hephaestus
    timely = hephaestus.start_instance(flows.TimelyWork, {}, id="x1")
    trip = hephaestus.start_instance(flows.Trips, {}, id="x1")
    giving = hephaestus.start_instance(result_flows.GivesAfterOne, {}, id="x1")
    plain = hephaestus.start_instance(flows.Linear, {"value": 1}, id="plain")
    assert stage.outcome(plain).status == "completed"
    messages = {"timely_work.a", "trips.book_hotel", "gives_after_one.a"}
    eventually(lambda: messages <= {note["task"] for note in stage.deliveries()}, what="it gets their messages")
    eventually(lambda: "a newer hephaestus-celery has written (schema 3" in older.log.read_text(), what="it says so")
    eventually(lambda: datetime.now(UTC) > timely.get().deadline + timedelta(seconds=1), what="the deadline is over")
    assert {handle.status for handle in (timely, trip, giving)} == {"pending"}
    assert {note["run_id"] for note in stage.executions()} == {plain.run_id}
    stage.path, stage.application = [SUPPORT], "result_app"
    stage.start_workers()  # beside the older one
    assert (stage.outcome(giving).status, giving.result()) == ("completed", {"steps": ["a"]})
    assert stage.outcome(timely).failure.type == "DeadlineExceeded"
    undone = stage.outcome(trip)
    assert (undone.status, undone.compensated) == ("failed", (flows.BookFlight, flows.BookHotel))
    steps = ("book_hotel", "book_flight", "pay_trip", "cancel_flight", "cancel_hotel")
    assert (ran(stage, giving), ran(stage, trip)) == ({"a": 1}, dict.fromkeys(steps, 1))
    assert [entry.kind for entry in timely.history()].count("timer") == 1
    said = older.log.read_text()
    assert said.count("Traceback") == said.count("unregistered task of type 'trips.cancel_")  # which are Celery's


@pytest.mark.only_on("redis", why="both sides talk to one store, whatever the broker")
def test_a_worker_of_older_code_leaves_runs_in_rounds_alone_and_takes_its_part_of_the_others(
    stage, code_of_plain_edges
):
    gates = [stage.folder / name for name in ("gate", "plain")]
    context = {"rounds": 4, "after": 0.01, "gated": 2, "gate": str(gates[0])}
    [newer] = stage.start_workers()
    handles = [stage.hephaestus.start_instance(flows.Polling, context, id=f"x{number}") for number in range(2)]
    eventually(
        lambda: sorted(note["round"] for note in stage.notes("round")) == [1, 1, 2, 2],
        what="second rounds are executed",
    )
    newer.kill()
    older = beside_older(stage, code_of_plain_edges, WITHOUT)
    plain = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="plain")
    assert plain.wait(30).status == "completed"
    lost = [history(handle) for handle in handles]
    assert {entry for found in lost for entry in found} == {
        ("attempt", "a", 1, "completed"),
        ("attempt", "poll", 1, "again"),
    }
    gates[0].touch()
    stage.path = [SUPPORT]
    stage.start_workers(options=["-Q", "elsewhere"])
    eventually(
        lambda: "a newer hephaestus-celery has written (schema 3" in older.log.read_text(),
        timeout=60,  # it may get none before the lease of the killed one has run out
        what="it gets a message",
    )
    stage.start_workers()
    gated = [
        stage.hephaestus.start_instance(flows.Gated, {"gate": str(gates[1])}, id=f"x{number}") for number in range(4)
    ]
    eventually(lambda: sum(ran(stage, handle)["gate"] for handle in gated) == 4, what="both workers are busy")
    gates[1].touch()
    assert {handle.wait(30).status for handle in gated} == {"completed"}
    for handle in handles:
        assert handle.wait(60).context.steps["poll"] == {"rounds": 5, "seen": [1, 2, 3, 4]}
        assert ran(stage, handle) == {"a": 1, "poll": 6, "b": 1}  # the round that was lost, twice
    pids = {note["pid"] for note in stage.notes("round")}
    assert not pids & pids_of(stage, plain)
    assert "Traceback" not in older.log.read_text()


@pytest.mark.only_on("redis", why="both sides talk to one store, whatever the broker")
def test_a_worker_of_older_code_ends_what_it_began_before_the_run_went_in_rounds(stage, code_of_plain_edges):
    older = beside_older(stage, code_of_plain_edges, WITHOUT)
    context = {"rounds": 3, "after": 0.1, "gate": str(stage.folder / "gate")}
    handle = stage.hephaestus.start_instance(tour_flows.Rolled, context, id="x1")
    eventually(lambda: ran(stage, handle)["gate"], what="the older worker executes its branch")
    stage.path, stage.application = [SUPPORT], "tour_app"
    stage.start_workers(options=["-Q", "tours-apart"])
    eventually(lambda: ("attempt", "poll_apart", 1, "completed") in history(handle), what="the other branch has ended")
    (stage.folder / "gate").touch()
    eventually(lambda: ("attempt", "gate", 1, "completed") in history(handle), what="so has the first one")
    eventually(
        lambda: "a newer hephaestus-celery has written (schema 3" in older.log.read_text(), what="the rest is left"
    )
    stage.start_workers()
    instance = stage.outcome(handle)
    assert {step.key for step in instance.completed_steps} == {"poll_apart", "gate", "b", "done"}
    assert ran(stage, handle) == {"gate": 1, "poll_apart": 4, "b": 1}
    assert "Traceback" not in older.log.read_text()
