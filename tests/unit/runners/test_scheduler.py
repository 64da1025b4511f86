"""The scheduler sends what is due, rescues what is lost, and goes on whatever happens."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from hephaestus_celery.core.execution.due import RESCUE_REASONS, Due
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.attempt import Executed, Worker
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.scheduler import IDLE_SECONDS, LOOK_SECONDS, Scheduler, _seconds_until_next
from hephaestus_celery.runners.step_result import Waiting
from hephaestus_celery.storage.due import Tick
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.storage.redis.steady_clock import LOCK_SECONDS
from hephaestus_celery.testing.capture import EventCapture

HOUR = 3600.0
LONG = {"lease": HOUR, "dispatch_timeout": HOUR}


def claimed(driver, message):
    return driver.claim(message.workflow, message.run_id, message.activation, message.attempt, worker=Worker())


def lost(driver, start):
    """A run whose worker is gone."""
    message = start(driver)
    driver.release(claimed(driver, message))
    return message


def waits(driver, message):
    """Let the first step of a run wait."""
    attempt = claimed(driver, message)
    driver.commit(attempt, Executed(result=Waiting(timeout=None), duration=0))


class StormyStorage(MemoryStorage):
    """A memory whose first looks at what is due fail."""

    def __init__(self, *errors):
        super().__init__()
        self.errors, self.asked = list(errors), []

    def tick(self, partition, **said):
        self.asked.append(said["seize"])
        if self.errors:
            raise self.errors.pop(0)
        return super().tick(partition, **said)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """After an error the scheduler looks again at once."""
    monkeypatch.setattr("hephaestus_celery.runners.scheduler.LOOK_SECONDS", 0.01)


def test_a_message_that_nobody_claims_is_sent_again(make_driver, start, schedule):
    driver = make_driver(lease=HOUR, dispatch_timeout=0.001)
    message = start(driver)
    first = schedule(driver).wait(1)[0]
    assert first == Message(
        run_id=message.run_id, workflow=message.workflow, activation=Activation("a"), attempt=1, token=2
    )


def test_what_is_due_already_when_the_scheduler_starts_is_done(make_driver, start, schedule):
    driver = make_driver(**LONG)
    message = start(driver)
    waits(driver, message)
    driver.storage.schedule(message.run_id, message.activation, reference="ref", delay=0)
    assert schedule(driver).wait(1)[0].step == "a"


def test_a_timer_that_is_set_while_the_scheduler_rests_wakes_it(make_driver, start, schedule):
    driver = make_driver(**LONG)
    message = start(driver)
    waits(driver, message)
    running = schedule(driver)
    driver.storage.schedule(message.run_id, message.activation, reference="ref", delay=1000)
    assert running.wait(1)[0].step == "a"
    assert driver.storage.load(message.run_id).steps["a"].resume.source == "timeout"


def test_a_lost_attempt_is_failed_and_followed_by_the_next(make_driver, start, schedule):
    driver = make_driver(lease=0.001, dispatch_timeout=HOUR)
    message = lost(driver, start)
    assert schedule(driver).wait(1)[0].attempt == 2
    history = [(json.loads(entry.detail)["kind"], entry.outcome) for entry in driver.storage.history(message.run_id)]
    assert history == [("rescue", ""), ("attempt", "retrying")]


def test_the_last_attempt_lost_fails_the_run(make_driver, start, schedule):
    driver = make_driver(lease=0.001, dispatch_timeout=HOUR)
    message = lost(driver, start)
    running = schedule(driver)
    second = running.wait(1)[0]
    driver.release(claimed(driver, second))
    assert driver.storage.wait_finished(message.run_id, timeout=20)
    run = driver.storage.load(message.run_id)
    assert (run.steps["a"].status, run.failed_step, json.loads(run.failure)["kind"]) == (
        StepStatus.FAILED,
        "a",
        "exit",
    )


def test_a_rescue_is_emitted(make_driver, start, schedule):
    with EventCapture() as events:
        driver = make_driver(lease=0.001, dispatch_timeout=HOUR)
        lost(driver, start)
        schedule(driver).wait(1)
        emitted = [(event.event[-2:], event.metadata["sequence"]) for event in events.events]
    assert emitted == [(("step", "rescue"), 4), (("step", "exception"), 5)]


def test_the_scheduler_waits_for_a_store_that_is_away(make_driver, start, schedule, caplog):
    caplog.set_level(logging.INFO, "hephaestus_celery")
    driver = make_driver(StormyStorage(StorageError("away"), StorageError("away")), **LONG)
    message = start(driver)
    waits(driver, message)
    driver.storage.schedule(message.run_id, message.activation, reference="ref", delay=0)
    running = schedule(driver)
    running.wait(1)
    running.scheduler.stop()
    assert [record.message for record in caplog.records if "store" in record.message] == [
        "the scheduler waits for the state store: away",
        "the scheduler reaches the state store again",
    ]


def test_after_an_outage_no_attempt_counts_as_lost_for_the_time_of_a_lease(make_driver, schedule):
    driver = make_driver(StormyStorage(StorageError("away")), **LONG)
    running = schedule(driver)
    while len(driver.storage.asked) < 2:
        running.scheduler._stopping.wait(0.001)
    running.scheduler.stop()
    assert driver.storage.asked[:2] == [True, False]


def test_an_error_of_any_kind_does_not_end_the_scheduler(make_driver, start, schedule, caplog):
    driver = make_driver(StormyStorage(ZeroDivisionError("oh")), **LONG)
    message = start(driver)
    waits(driver, message)
    driver.storage.schedule(message.run_id, message.activation, reference="ref", delay=0)
    assert len(schedule(driver).wait(1)) == 1
    assert "the scheduler goes on after an error" in caplog.text


def test_a_message_that_can_not_be_sent_is_sent_later(make_driver, start, schedule, caplog):
    driver = make_driver(lease=HOUR, dispatch_timeout=0.001)
    message = start(driver)
    failures = [KeyError("a router's")]

    def dispatch(messages):
        if messages and failures:
            raise failures.pop()

    assert schedule(driver, dispatch).wait(1)[0].run_id == message.run_id
    assert "a router's" in caplog.text


class Unread(MemoryStorage):
    """A memory that notes which runs are read."""

    def __init__(self):
        super().__init__()
        self.loaded = []

    def load(self, run_id):
        self.loaded.append(run_id)
        return super().load(run_id)


def test_the_rescue_of_a_message_is_emitted_without_its_run(make_driver, start, schedule):
    storage = Unread()
    driver = make_driver(storage, lease=HOUR, dispatch_timeout=0.001)
    message = start(driver)
    with EventCapture() as events:
        running = schedule(driver)
        running.wait(2)  # the first was emitted by then
        running.scheduler.stop()
    [first, *_] = events.of(("hephaestus", "step", "rescue"))
    assert (first.metadata["instance_id"], first.metadata["step_key"]) == ("orderid::a1", "a")
    assert first.metadata["reason"] == RESCUE_REASONS[Due.REDISPATCH]
    assert storage.loaded == []
    assert driver.storage.history(message.run_id)[0].sequence == first.metadata["sequence"]


def test_a_run_that_can_not_be_rescued_stops_no_other(make_driver, start, schedule, caplog):
    driver = make_driver(lease=0.001, dispatch_timeout=HOUR)
    broken, sound = (start(driver, value) for value in ("a1", "a2"))
    for message in (broken, sound):
        driver.release(claimed(driver, message))
    record = driver.storage._memory.runs[broken.run_id]
    object.__setattr__(record.new, "header", "{}")
    assert schedule(driver).wait(1)[0].run_id == sound.run_id
    assert f"step a of run {broken.run_id} could not be rescued" in caplog.text


@pytest.mark.parametrize(
    "error", [SystemExit("from a router"), KeyboardInterrupt(), MemoryError(), OSError("no files")]
)
def test_no_error_ends_the_scheduler(make_driver, start, schedule, caplog, error):
    class Unready(MemoryStorage):
        def separate(self):
            if not failed:
                failed.append(error)
                raise error
            return super().separate()

    failed = []
    sent = []

    def dispatch(messages):
        if messages and not sent:
            sent.extend(messages)
            raise error

    driver = make_driver(Unready(), dispatch_timeout=0.05)
    message = start(driver)
    running = schedule(driver, dispatch)
    assert running.wait(1)[0].run_id == message.run_id
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 2


def test_what_the_store_can_not_read_is_logged(make_driver, schedule, caplog):
    class Troubled(MemoryStorage):
        def tick(self, partition, **said):
            looked.set()
            return Tick(held=True, problems=["x: no entry of ours"])

    looked = threading.Event()
    running = schedule(make_driver(Troubled()))
    assert looked.wait(20)
    running.scheduler.stop()
    assert "an entry of the due set can't be read: x: no entry of ours" in caplog.text


def test_who_has_no_lock_does_not_listen(make_driver, schedule):
    class Taken(MemoryStorage):
        def tick(self, partition, **said):
            ticks.append(said["owner"])
            if len(ticks) == 3:
                enough.set()
            return Tick(held=False)

        def await_due(self, *, timeout):
            raise AssertionError("listened")

    ticks, enough = [], threading.Event()
    running = schedule(make_driver(Taken()))
    assert enough.wait(20)
    running.scheduler.stop()
    assert set(ticks) == {running.scheduler._owner}


def test_a_stopped_scheduler_leaves_its_lock(make_driver, schedule):
    class Locked(MemoryStorage):
        def tick(self, partition, **said):
            ticked.set()
            return super().tick(partition, **said)

        def resign(self, *, owner):
            left.append(owner)

    left, ticked = [], threading.Event()
    running = schedule(make_driver(Locked()))
    assert ticked.wait(20)
    running.scheduler.stop()
    assert left == [running.scheduler._owner]


def test_starting_twice_is_starting_once(make_driver, schedule):
    running = schedule(make_driver(**LONG))
    thread = running.scheduler._thread
    running.scheduler.start()
    assert running.scheduler._thread is thread


def test_a_scheduler_that_was_never_started_can_be_stopped(make_driver):
    Scheduler(make_driver, dispatch=list, worker=Worker()).stop()


def test_more_that_is_due_is_asked_for_at_once(make_driver, schedule):
    class Full(MemoryStorage):
        def tick(self, partition, **said):
            ticks.append(1)
            if len(ticks) == 50:
                emptied.set()
            return Tick(held=True, more=len(ticks) < 50)

    ticks, emptied = [], threading.Event()
    schedule(make_driver(Full()))
    assert emptied.wait(IDLE_SECONDS)


@pytest.mark.parametrize(
    ("tick", "seconds"),
    [
        (Tick(held=False), LOOK_SECONDS),
        (Tick(held=True), IDLE_SECONDS),
        (Tick(held=True, next_in=0), 0.0),
        (Tick(held=True, next_in=500_000), 0.5),
        (Tick(held=True, next_in=3_600_000_000), IDLE_SECONDS),
    ],
)
def test_a_scheduler_rests_until_the_next_entry_but_never_long(monkeypatch, tick, seconds):
    monkeypatch.setattr("hephaestus_celery.runners.scheduler.LOOK_SECONDS", LOOK_SECONDS)
    assert _seconds_until_next(tick, 30.0) == seconds


def test_the_lock_outlives_the_longest_pause():
    assert LOCK_SECONDS >= IDLE_SECONDS + 1


def test_every_rescue_has_a_reason():
    assert set(RESCUE_REASONS) == {Due.LEASE_EXPIRED, Due.TIMED_OUT, Due.REDISPATCH, Due.REAPPLY}
