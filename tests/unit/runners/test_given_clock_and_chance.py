"""A runtime that is given a clock and a chance reads no other: the same run, driven twice, is the same to the last digit."""

from __future__ import annotations

import pytest
from defining import define
from given_time import GivenChance, GivenClock

from hephaestus_celery import Done, Ok, RetryPolicy, Step
from hephaestus_celery.config import Settings
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.local import LocalRunner
from hephaestus_celery.runners.scheduler import Scheduler
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.testing import EventCapture
from tests.support.starting import create

SECONDS = 0.25
WORKER = Worker(hostname="w1", task_id="t1")


@pytest.fixture
def twice():
    """``twice(run)``: what ``run(clock, chance)`` gives with two clocks and chances that are alike."""
    return lambda run: [run(GivenClock(), GivenChance(7)) for _ in range(2)]


def made(clock, chance):
    """A driver, and the first message of a run whose step fails once and takes its time."""
    attempts = []

    def execute(self, instance, config, context):
        clock.sleep(SECONDS)
        attempts.append(instance.id)
        if len(attempts) == 1:
            raise ValueError("not yet")
        return Ok("ok")

    step = type("Slow", (Step,), {"key": "slow", "events": ("ok",), "execute": execute})
    flow = define(
        name="runners.given",
        initial_step=step,
        transitions={(step, "ok"): Done},
        default_retry=RetryPolicy(max_attempts=2, base=60, jitter=True),
    )
    driver = Driver(
        storage=MemoryStorage(clock=clock, chance=chance),
        settings=Settings(),
        dispatcher=LocalRunner(),
        clock=clock,
        chance=chance,
    )
    _, [message] = create(driver, flow, id="orderid::a1")
    return driver, message


def attempted(driver, message):
    attempt = driver.claim(message.workflow, message.run_id, message.activation, message.attempt, worker=WORKER)
    attempt.emit_start(driver.emitter)
    executed = driver.execute(attempt)
    outcome = driver.commit(attempt, executed)
    outcome.emit(driver.emitter)
    driver.release(attempt)
    return attempt, executed, outcome


def driven(clock, chance):
    """All that a run shows of time and chance."""
    driver, message = made(clock, chance)
    with EventCapture() as capture:
        first, executed, retried = attempted(driver, message)
        clock.sleep(retried.retry_in)
        tick = driver.storage.tick(0, owner="o", worker="w", seize=True, durations=driver.durations)
        [entry] = tick.entries
        second = driver.claim(
            message.workflow, message.run_id, message.activation, entry.dispatch.attempt, worker=WORKER
        )
        outcome = driver.commit(second, driver.execute(second))
        outcome.emit(driver.emitter)
    driver.close()
    events = [(event.event, dict(event.measurements), event.metadata["sequence"]) for event in capture.events]
    history = list(driver.storage.history(message.run_id))
    return (
        message.run_id,
        first.fence,
        second.fence,
        executed.duration,
        retried.retry_in,
        outcome.label,
        events,
        history,
    )


def test_the_same_run_has_the_same_ids_fences_delays_durations_events_and_history(twice):
    first, second = twice(driven)
    assert first == second
    run_id, *fences, duration, delay, label, events, _ = first
    assert (duration, label) == (int(SECONDS * 1e9), "ok")
    assert 0 < delay <= 60
    assert len(set(fences)) == 2
    assert len(run_id) == 36
    assert [event for event, _, _ in events][-1] == ("hephaestus", "workflow", "stop")


def test_another_chance_gives_other_ids_fences_and_delays():
    first, second = (driven(GivenClock(), GivenChance(seed)) for seed in (1, 2))
    assert all(one != other for one, other in zip(first[:3], second[:3], strict=True))
    assert first[4] != second[4]


def test_a_lost_attempt_fails_after_the_time_that_the_clock_says(twice):
    def lost(clock, chance):
        driver, message = made(clock, chance)
        attempt = driver.claim(message.workflow, message.run_id, message.activation, 1, worker=WORKER)
        driver.release(attempt)
        clock.sleep(3)
        with EventCapture() as capture:
            outcome = driver.recovery.fail_lost(
                message.run_id, message.activation, 1, reason="its worker process was lost", worker=WORKER
            )
            outcome.emit(driver.emitter)
        driver.close()
        failed = [event for event in capture.events if event.event[-1] == "exception"]
        return outcome.retry_in, [event.measurements["duration"] for event in failed]

    first, second = twice(lost)
    assert first == second
    assert first[1] == [3_000_000_000]


def test_a_scheduler_takes_its_name_from_the_chance_of_its_runtime(twice):
    def named(clock, chance):
        driver, _ = made(clock, chance)
        owners = []
        storage = driver.storage
        tick, storage.separate = storage.tick, lambda: storage

        def noting(partition, **said):
            owners.append(said["owner"])
            scheduler._stopping.set()
            return tick(partition, **said)

        storage.tick = noting
        scheduler = Scheduler(lambda: driver, dispatch=lambda messages: None, worker=WORKER)
        scheduler.run()
        driver.close()
        return owners

    first, second = twice(named)
    assert first == second
    assert len(first[0]) == 16
