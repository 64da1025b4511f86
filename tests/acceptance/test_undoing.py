"""Runs that undo what has completed, on real workers, which are killed on the way."""

from __future__ import annotations

import os
import signal
from collections import Counter

import flows
import pytest
from stage import eventually


@pytest.fixture
def losing(make_stage):
    """A stage whose leases run out soon, since some of its processes die."""
    return make_stage(lease=5.0)


def executed(stage):
    return Counter(record["step"] for record in stage.executions())


def history(handle):
    return [(entry.kind, entry.step, entry.attempt, entry.outcome, entry.compensates) for entry in handle.history()]


UNDONE = [
    ("attempt", "book_hotel", 1, "completed", None),
    ("attempt", "book_flight", 1, "completed", None),
    ("attempt", "pay_trip", 1, "failed", None),
    ("attempt", "cancel_flight", 1, "completed", "book_flight"),
    ("attempt", "cancel_hotel", 1, "completed", "book_hotel"),
]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_run_that_fails_undoes_the_last_step_first(stage, pool):
    stage.start_workers(1, pool=pool)
    handle = stage.hephaestus.start_instance(flows.Trips, {}, id="x1")
    instance = handle.wait(60)
    assert (instance.status, instance.failed_step, instance.failure.message) == ("failed", flows.PayTrip, "no money")
    assert instance.compensated == (flows.BookFlight, flows.BookHotel)
    assert instance.context.steps["cancel_flight"] == {"refunded": ["book_flight", "book_hotel"]}
    assert history(handle) == UNDONE
    events = stage.emitted(handle.run_id, last="workflow.exception")
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    names = [event["event"] for event in events]
    assert names[names.index("workflow.compensate") :] == [
        "workflow.compensate",
        *["step.start", "step.stop", "workflow.transition", "engine.advance"] * 2,
        "workflow.exception",
    ]


def test_a_process_killed_in_a_compensation_costs_an_attempt_of_it_and_nothing_else(losing, tmp_path):
    stage = losing
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flows.Trips, {"marker": str(tmp_path / "killed")}, id="x1")
    instance = handle.wait(60)
    assert (instance.status, instance.compensated) == ("failed", (flows.BookFlight, flows.BookHotel))
    assert executed(stage) == {"book_hotel": 1, "book_flight": 1, "pay_trip": 1, "cancel_flight": 2, "cancel_hotel": 1}
    assert [entry for entry in history(handle) if entry[1] == "cancel_flight"] == [
        ("rescue", "cancel_flight", 1, None, "book_flight"),
        ("attempt", "cancel_flight", 1, "retrying", "book_flight"),
        ("attempt", "cancel_flight", 2, "completed", "book_flight"),
    ]


def test_workers_killed_between_a_failure_and_the_first_compensation_cost_nothing(losing):
    stage = losing
    [worker] = stage.start_workers(1)
    gate = stage.folder / "gate"
    handle = stage.hephaestus.start_instance(flows.Trips, {"gate": str(gate)}, id="x1")
    eventually(lambda: executed(stage)["pay_trip"] == 1)
    worker.kill()
    stage.start_workers(1)
    gate.touch()
    instance = handle.wait(60)
    assert (instance.status, instance.compensated) == ("failed", (flows.BookFlight, flows.BookHotel))
    done = executed(stage)
    assert (done["cancel_flight"], done["cancel_hotel"]) == (1, 1)


def test_a_cancelled_run_undoes_on_workers(stage):
    stage.start_workers(1)
    gate = stage.folder / "gate"
    handle = stage.hephaestus.start_instance(flows.Trips, {"gate": str(gate)}, id="x1")
    eventually(lambda: executed(stage)["pay_trip"] == 1)
    handle.cancel("rain", compensate=True)
    assert handle.get().compensating
    gate.touch()
    instance = handle.wait(60)
    assert (instance.status, instance.cancel_reason) == ("cancelled", "rain")
    assert instance.compensated == (flows.BookFlight, flows.BookHotel)


# A compensation that answers `Again`


def polled(stage, **context):
    return stage.hephaestus.start_instance(flows.PolledTrips, {"rounds": 2, "after": 0.05, **context}, id="x1")


def rounds(stage):
    return [(note["round"], note["attempt"], note["state"].get("seen", [])) for note in stage.notes("round")]


def of_refund(handle):
    return [
        (entry.kind, entry.round, entry.attempt, entry.outcome, entry.compensates)
        for entry in handle.history()
        if entry.step == "poll_refund"
    ]


def paid_back(handle):
    instance = handle.wait(60)
    assert (instance.status, instance.failed_step) == ("failed", flows.FailsAfterRefund)
    assert instance.compensated == (flows.BookFlight, flows.BookHotel)
    assert instance.context.steps["poll_refund"] == {"rounds": 3, "seen": [1, 2]}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_compensation_goes_on_in_rounds_before_the_next_one_begins(stage, pool):
    stage.start_workers(1, pool=pool)
    handle = polled(stage)
    paid_back(handle)
    assert rounds(stage) == [(1, 1, []), (2, 1, [1]), (3, 1, [1, 2])]
    assert of_refund(handle) == [
        ("attempt", 1, 1, "again", "book_flight"),
        ("attempt", 2, 1, "again", "book_flight"),
        ("attempt", 3, 1, "completed", "book_flight"),
    ]
    assert [entry.step for entry in handle.history()][-1] == "cancel_hotel"
    events = stage.emitted(handle.run_id, last="workflow.exception")
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    names = [event["event"] for event in events]
    assert names[names.index("workflow.compensate") :] == [
        "workflow.compensate",
        *["step.start", "step.async"] * 2,
        *["step.start", "step.stop", "workflow.transition", "engine.advance"] * 2,
        "workflow.exception",
    ]


def test_a_process_killed_in_a_round_of_a_compensation_costs_an_attempt_of_that_round_alone(losing):
    stage = losing
    stage.start_workers(1)
    gate = stage.folder / "gate-of-round"
    handle = polled(stage, gated=2, gate=str(gate))
    [*_, killed] = eventually(
        lambda: len(rounds(stage)) == 2 and stage.executions(), what="the second round is executed"
    )
    assert killed["step"] == "poll_refund"
    os.kill(killed["pid"], signal.SIGKILL)
    paid_back(handle)
    assert rounds(stage) == [(1, 1, []), (2, 1, [1]), (2, 2, [1]), (3, 1, [1, 2])]
    assert of_refund(handle)[1:4] == [
        ("rescue", 2, 1, None, "book_flight"),
        ("attempt", 2, 1, "retrying", "book_flight"),
        ("attempt", 2, 2, "again", "book_flight"),
    ]
    keys = [note["key"].removeprefix(handle.run_id) for note in stage.notes("round")]
    assert keys == [":poll_refund", ":poll_refund::2", ":poll_refund::2", ":poll_refund::3"]
    assert executed(stage)["cancel_hotel"] == 1


def test_workers_killed_between_two_rounds_of_a_compensation_cost_nothing(stage):
    [worker] = stage.start_workers(1)
    handle = polled(stage, after=3.0)
    eventually(lambda: handle.get().waiting_steps, what="the compensation is between two rounds")
    instance = handle.get()
    assert (instance.status, instance.compensating) == ("running", True)
    worker.kill()
    stage.start_workers(1)
    paid_back(handle)
    assert [entry[0] for entry in of_refund(handle)] == ["attempt"] * 3
    assert executed(stage)["cancel_hotel"] == 1
