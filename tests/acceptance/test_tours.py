"""A workflow with rounds, a deadline, compensations and a result: on each pool and broker, and while the clock of the server is set."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import tour_flows
from stage import eventually

HUNDREDS = 300
POOLS = ["prefork", "threads", "solo", "gevent", "eventlet"]
SIDE_BY_SIDE = {"threads", "gevent", "eventlet"}
UNDONE = (tour_flows.Haggle, tour_flows.BookHotel)
WITHDRAWN = [
    ("withdraw", None, 1, "retrying"),  # nobody knows yet that it goes in rounds
    ("withdraw", 1, 2, "again"),
    ("withdraw", 2, 1, "retrying"),
    ("withdraw", 2, 2, "completed"),
    ("cancel_hotel", None, 1, "completed"),
]


@pytest.fixture
def open_tours(make_stage):
    """``open_tours(**options)``: a stage whose workers know the workflow, and whose leases run out soon."""
    return lambda **options: make_stage(application="tour_app", lease=2.0, dispatch_timeout=2.0, **options)


def start(stage, way, flow=tour_flows.Tour):
    return stage.hephaestus.start_instance(flow, {"way": way}, id=way)


def attempts(handle):
    found = [entry for entry in handle.history() if entry.kind == "attempt"]
    return [(entry.step, entry.round, entry.attempt, entry.outcome) for entry in found]


def check_told(stage, handle, *, last):
    """Each event of the run was told once, in its place."""
    events = stage.emitted(handle.run_id, last=last)
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    names = Counter(event["event"] for event in events)
    assert names["workflow.start"] == names[last] == 1
    assert names["workflow.compensate"] == (last == "workflow.exception")


def check_asked(stage, handle):
    """Each round of the haggling was executed once."""
    asked = [note["round"] for note in stage.notes("asked") if note["run_id"] == handle.run_id]
    assert asked[:3] == [1, 2, 3]
    assert asked[3:] in ([], [1, 1, 2, 2])


def completes(stage):
    handle = start(stage, "pay")
    assert handle.result(60) == {"asked": 3}
    assert [outcome for *_, outcome in attempts(handle)] == ["completed", "again", "again", *["completed"] * 3]
    check_asked(stage, handle)
    check_told(stage, handle, last="workflow.stop")


def undoes(stage):
    handle = start(stage, "fail")
    check_undone(handle)
    check_asked(stage, handle)
    check_told(stage, handle, last="workflow.exception")


def check_undone(handle):
    instance = handle.wait(60)
    assert (instance.status, instance.failure.message, instance.result) == ("failed", "no money", None)
    assert (instance.compensated, instance.uncompensated) == (UNDONE, ())
    assert instance.context.steps["withdraw"] == {"asked": 2}
    assert attempts(handle)[-6:] == [("pay_tour", None, 1, "failed"), *WITHDRAWN]


def runs_out(stage):
    handle = start(stage, "wait", tour_flows.ShortTour)
    instance = handle.wait(60)
    assert (instance.status, instance.failure.type) == ("failed", "DeadlineExceeded")
    assert (instance.failed_step, instance.compensated, instance.uncompensated) == (None, UNDONE, ())
    assert attempts(handle)[-6:] == [("pay_tour", None, 1, "discarded"), *WITHDRAWN]
    [timer] = [entry for entry in handle.history() if entry.kind == "timer"]
    lasted = timer.finished_at - instance.started_at
    assert tour_flows.ShortTour.deadline <= lasted < 2 * tour_flows.ShortTour.deadline
    check_asked(stage, handle)
    check_told(stage, handle, last="workflow.exception")


@pytest.mark.only_on("redis", why="pools know of no broker")
@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_polls_undoes_keeps_a_deadline_and_gives_a_result(open_tours, pool):
    stage = open_tours()
    stage.start_workers(1, pool=pool, concurrency=4 if pool in SIDE_BY_SIDE else 1)
    for shown in (completes, undoes, runs_out):
        shown(stage)


@pytest.mark.only_on("rabbitmq", why="with the other broker the pools are tried")
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_rabbitmq_brings_rounds_compensations_and_a_result(open_tours, kind):
    stage = open_tours(celery={"task_default_queue_type": kind})
    stage.start_workers(2)
    for shown in (completes, undoes, runs_out):
        shown(stage)
    eventually(lambda: stage.waiting_messages() == 0, what="all messages were taken")


@pytest.mark.parametrize("step", [3600, -3600])
def test_rounds_deadlines_and_compensations_keep_their_time_when_the_clock_of_the_server_is_set(
    open_stage, settable, step
):
    url = settable.url
    stage = open_stage(broker=url, state=url, application="tour_app", lease=2.0, dispatch_timeout=2.0)
    stage.start_workers(1, concurrency=3)
    begins = time.monotonic()
    late, fails = start(stage, "wait", tour_flows.ShortTour), start(stage, "fail")
    eventually(lambda: "haggle" in {note["step"] for note in stage.notes("asked")}, what="rounds have begun")
    settable.set_clock(step)
    check_undone(fails)
    instance = late.wait(30)
    lasted = time.monotonic() - begins
    assert (instance.failure.type, instance.compensated, instance.uncompensated) == ("DeadlineExceeded", UNDONE, ())
    assert tour_flows.ShortTour.deadline.total_seconds() - 0.2 <= lasted < 25
    settable.set_clock(0)
    completes(stage)
    kinds = {entry.kind for handle in (late, fails) for entry in handle.history()}
    assert kinds == {"attempt", "timer"}  # no lease was over
    for handle in (late, fails):
        check_asked(stage, handle)


@pytest.mark.parametrize("step", [3600, -3600])
def test_a_process_whose_first_step_comes_while_the_clock_is_wrong_keeps_the_time_too(open_stage, settable, step):
    """Before a scheduler has corrected it: what the worker had read before it forked shows that the clock was set."""
    url = settable.url
    stage = open_stage(broker=url, state=url, application="tour_app", lease=2.0, dispatch_timeout=2.0)
    stage.start_workers(1, concurrency=3)
    start(stage, "apart", tour_flows.Apart)  # so the client knows the clock
    settable.set_clock(step)
    begins = time.monotonic()
    late, fails = start(stage, "wait", tour_flows.ShortTour), start(stage, "fail")
    check_undone(fails)
    assert late.wait(30).failure.type == "DeadlineExceeded"
    assert tour_flows.ShortTour.deadline.total_seconds() <= time.monotonic() - begins < 25
    for handle in (late, fails):
        check_asked(stage, handle)


def test_the_deadline_of_a_run_that_undoes_counts_no_longer(open_tours):
    """While the compensation is executed, waits, is paused, or finds no worker."""
    stage = open_tours()
    stage.start_workers(1, concurrency=4)
    gate = stage.folder / "gate"

    def begin(value, undo, flow=tour_flows.Booking):
        context = {"way": "fail", "undo": undo, "gate": str(gate)}
        return stage.hephaestus.start_instance(flow, context, id=value)

    held, waiting, paused = begin("held", "hold"), begin("waiting", "wait"), begin("paused", "wait")
    queued = begin("queued", "now", tour_flows.BookingElsewhere)
    eventually(lambda: {"waiting"} == {run.get().step(tour_flows.Unbook).status for run in (waiting, paused)})
    eventually(lambda: ("unbook", held.run_id) in {(note["step"], note["run_id"]) for note in stage.executions()})
    eventually(lambda: queued.get().compensating, what="the last one undoes, too")
    paused.pause()
    late = max(handle.get().deadline for handle in (held, waiting, paused, queued)) + timedelta(seconds=1)
    eventually(lambda: datetime.now(UTC) > late, what="all deadlines have come")
    for handle in (held, waiting, paused, queued):
        instance = handle.get()
        assert (instance.status, instance.compensating, instance.compensated) == ("running", True, ())
    gate.touch()
    waiting.resume("done")
    paused.unpause()
    paused.resume("done")
    stage.start_workers(1, options=["-Q", "tours-elsewhere"])
    for handle in (held, waiting, paused, queued):
        instance = handle.wait(30)
        assert (instance.status, instance.failure.message) == ("failed", "no money")
        assert (instance.compensated, instance.uncompensated) == ((tour_flows.BookHotel,), ())
        assert "timer" not in {entry.kind for entry in handle.history()}
    for handle in (held, waiting, queued):  # of the pause its caller tells
        check_told(stage, handle, last="workflow.exception")


@pytest.mark.only_on("redis", why="the deadlines are in the store")
def test_hundreds_of_deadlines_at_once_begin_the_undoing_of_each_run_once_whoever_is_killed(open_tours):
    stage = open_tours()
    [first, _] = stage.start_workers(2)
    handles = stage.hephaestus.start_many(tour_flows.Reservation, ((f"x{number}", {}) for number in range(HUNDREDS)))
    assert stage.hephaestus.count(status="failed") == 0
    eventually(lambda: stage.hephaestus.count(waiting_for="paid") == HUNDREDS, timeout=90, what="all wait")
    eventually(lambda: stage.hephaestus.count(status="failed") > HUNDREDS // 10, timeout=120, what="deadlines come")
    first.kill()  # it holds the lock of the scheduler
    stage.start_workers(1)
    eventually(lambda: stage.hephaestus.count(status="failed") == HUNDREDS, timeout=120, what="all have failed")
    for handle in handles:
        instance = handle.get()
        assert (instance.failure.type, instance.compensated) == ("DeadlineExceeded", (tour_flows.BookHotel,))
        found = Counter((entry.kind, entry.step, entry.outcome) for entry in handle.history() if entry.kind != "rescue")
        assert found["timer", None, "completed"] == found["attempt", "cancel_hotel", "completed"] == 1
        assert {outcome for _, _, outcome in found} <= {"completed", "waiting", "retrying"}
