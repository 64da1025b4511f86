"""Time on a real server: its clock is set while it runs, it is frozen, and its replies are lost."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.testing.conformance.driven_values import DURATIONS
from hephaestus_celery.testing.conformance.storage.fixtures import lasting
from hephaestus_celery.testing.conformance.trips import trip

LEASE = timedelta(seconds=3)
LATE = 2.5
"""Seconds by which a timer may be late: a scheduler looks once in two seconds at least."""
STEPS = [60, -3600, 40 * 86400]
SECOND = 1_000_000


@dataclasses.dataclass
class House:
    """A scheduler, the worker whose leases a thread keeps, and what has come due by the clock on the wall of the test."""

    drive: object
    url: str
    namespace: str

    def __post_init__(self):
        self.worker, self.stand, self.other = (self.stand_on(self.storage()) for _ in range(3))
        self.came: list[tuple[float, object]] = []

    def stand_on(self, storage):
        return self.drive(storage, durations=lasting(lease=LEASE))

    def storage(self):
        return RedisStorage(self.url, namespace=self.namespace)

    def look(self, *, owner="first", stand=None):
        self.came += [(time.monotonic(), entry) for entry in (stand or self.stand).tick(owner=owner).entries]

    def go_on(self, seconds, *, held=(), owner="first", stand=None):
        """Look often, and renew the leases, three times a lease."""
        end, renewed = time.monotonic() + seconds, 0.0
        while time.monotonic() < end:
            if time.monotonic() - renewed > LEASE.total_seconds() / 3:
                renewed = time.monotonic()
                assert all(run.renew(step) for run, step in held)
            self.look(owner=owner, stand=stand)
            time.sleep(0.1)

    def close(self):
        for stand in (self.worker, self.stand, self.other):
            stand.storage.close()


@pytest.fixture
def house(settable, namespace, drive):
    house = House(drive, settable.url, namespace)
    yield house
    house.close()


@pytest.mark.parametrize("step", STEPS)
def test_leases_and_timers_go_on_when_the_clock_is_set(house, settable, step):
    busy, waits, soon = (house.worker.start(instance_id=f"order::{name}") for name in ("busy", "waits", "soon"))
    busy.claim("a", limit=6 * SECOND)
    waits.wait_at("a", timeout=4 * SECOND)
    began = time.monotonic()
    house.look()
    settable.set_clock(step)
    # Before any scheduler has looked: what is set in this moment must not be set by the wrong clock either.
    soon.wait_at("a", timeout=2 * SECOND)
    late = house.worker.start(instance_id="order::late")
    late.claim("a")
    house.go_on(5, held=[(busy, "a"), (late, "a")])
    settable.set_clock(0)
    fresh = house.worker.start(instance_id="order::fresh")
    fresh.wait_at("a", timeout=SECOND)
    house.go_on(0.5, held=[(late, "a")])
    house.go_on(2, held=[(late, "a")])
    due = {entry.run_id: (entry.kind, at - began) for at, entry in house.came}
    assert {run: kind for run, (kind, _) in due.items()} == {
        soon.id: Due.TIMEOUT,
        waits.id: Due.TIMEOUT,
        fresh.id: Due.TIMEOUT,
        busy.id: Due.TIMED_OUT,  # its time limit was over; its lease never was
    }
    for run, wanted in ((soon, 2), (waits, 4), (fresh, 6), (busy, 6)):
        assert wanted - 0.2 <= due[run.id][1] <= wanted + LATE, (run.new.instance_id, due)
    assert late.complete("a").verdict is Verdict.APPLIED


@pytest.mark.parametrize("step", [3600, -3600])
def test_rounds_deadlines_and_compensations_come_in_time_when_the_clock_is_set(house, settable, step):
    def start(name, **options):
        return house.worker.start(instance_id=f"order::{name}", **options)

    polls, polls_soon = (start(name) for name in ("polls", "polls soon"))
    timely = start("timely", deadline=4 * SECOND)
    undoing, undoes_soon = (trip(house.worker, instance_id=f"order::{name}") for name in ("undoing", "undoes soon"))
    busy = trip(house.worker, instance_id="order::busy", deadline=4 * SECOND)
    for run in (undoing, undoes_soon, busy):
        run.step("a")
        run.claim("b")
    for run in (polls, polls_soon):
        run.claim("a")
    polls.again("a", delay=4 * SECOND)
    assert undoing.fail("b").undoes
    undoing.claim("undo_a")
    undoing.retry("undo_a", delay=4 * SECOND)
    began = time.monotonic()
    house.look()
    settable.set_clock(step)
    polls_soon.again("a", delay=2 * SECOND)
    timely_soon = start("timely soon", deadline=2 * SECOND)
    assert undoes_soon.fail("b").undoes
    undoes_soon.claim("undo_a")
    undoes_soon.again("undo_a", delay=2 * SECOND)
    house.go_on(3, held=[(busy, "b")])
    settable.set_clock(0)
    house.go_on(3.5, held=[(busy, "b")])
    due = {entry.run_id: (entry.kind, at - began) for at, entry in house.came}
    assert len(due) == len(house.came)
    assert {run: kind for run, (kind, _) in due.items()} == {
        **{run.id: Due.RETRY for run in (polls, polls_soon, undoing, undoes_soon)},
        **{run.id: Due.DEADLINE for run in (timely, timely_soon, busy)},
    }
    for runs, wanted in (((polls_soon, timely_soon, undoes_soon), 2), ((polls, timely, undoing, busy), 4)):
        for run in runs:
            assert wanted - 0.2 <= due[run.id][1] <= wanted + LATE, (run.new.instance_id, due)
    assert busy.complete("b").verdict is Verdict.LATE  # its lease never was over; it has completed, and leads nowhere
    assert busy.load().steps["b"].status == "completed"
    assert busy.load().steps["undo_b"].status == "active"


@pytest.mark.parametrize("step", [60, -3600])
def test_who_takes_the_lock_over_takes_the_step_back(house, settable, step):
    busy, waits = (house.worker.start(instance_id=f"order::{name}") for name in ("busy", "waits"))
    busy.claim("a")
    waits.wait_at("a", timeout=6 * SECOND)
    began = time.monotonic()
    house.look()
    house.go_on(0.5, held=[(busy, "a")], owner="second", stand=house.other)
    settable.set_clock(step)  # and the first is gone
    house.go_on(7, held=[(busy, "a")], owner="second", stand=house.other)
    [(at, entry)] = house.came
    assert (entry.run_id, entry.kind) == (waits.id, Due.TIMEOUT)
    assert 5.8 <= at - began <= 6 + LATE


def test_times_that_users_see_are_those_of_the_server(house, settable):
    house.look()
    settable.set_clock(3600)
    run = house.worker.start()
    house.look()
    run.wait_at("a")
    now = house.worker.storage.now()
    seen = run.load()
    assert abs(now - seen.started_at) < 5 * SECOND
    assert abs(now - seen.steps["a"].waiting_since) < 5 * SECOND
    assert seen.start == str(seen.started_at * 1000)
    settable.set_clock(0)
    run.cancel()
    assert run.load().finished_at < seen.started_at


# What is executed late: the server was frozen, and whoever asked has given up

HASTE = timedelta(seconds=0.4)
HOUR = 3600 * SECOND


def waiting(stand, name):
    run = stand.start(instance_id=f"order::{name}")
    run.wait_at("a")
    return run


def held(stand, name):
    run = stand.start(instance_id=f"order::{name}")
    run.claim("a", holder="task")
    return run


def expired(stand, name):
    run = held(stand, name)
    stand.storage._client.zadd(stand.storage.keys.of_run(run.id).names[3], {f"{run.id}|a": 1})
    return run


def timed(stand, name):
    run = waiting(stand, name)
    run.schedule("a", delay=HOUR)
    return run


def create_together(run):
    [found] = run.storage.create_many([run.new])
    if isinstance(found, Exception):
        raise found


LATE_CALLS = {
    "create": (
        lambda stand, name: stand.prepare(instance_id=f"order::{name}"),
        lambda run: run.storage.create(run.new),
    ),
    "create_many": (lambda stand, name: stand.prepare(instance_id=f"order::{name}"), create_together),
    "claim": (lambda stand, name: stand.start(instance_id=f"order::{name}"), lambda run: run.claim("a")),
    "renew": (held, lambda run: run.renew("a")),
    "seize": (held, lambda run: run.seize("a", holder="task")),
    "deliver": (waiting, lambda run: run.deliver("go")),
    "keep": (held, lambda run: run.deliver("go", keep=True)),
    "cancel": (waiting, lambda run: run.cancel()),
    "schedule": (waiting, lambda run: run.schedule("a", delay=HOUR)),
    "unschedule": (timed, lambda run: run.unschedule("a")),
    "tick": (expired, lambda run: run.storage.tick(0, owner="first", worker="w1", seize=True, durations=DURATIONS)),
}


@contextmanager
def frozen(server):
    """The server does nothing while the block runs, and then all that has come."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(HASTE.total_seconds())  # whoever asked has given up by now
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.fixture
def hasty(private_server, namespace):
    """``hasty()``: a storage that gives up soon, on a server that knows the scripts."""
    made = []

    def make():
        made.append(RedisStorage(private_server.url, namespace=namespace, timeout=HASTE))
        for source in made[-1]._calls.scripts.sources.values():
            made[-1]._client.script_load(source)
        return made[-1]

    yield make
    for storage in made:
        storage.close()


def stored(runs):
    return {call: (run.load(), list(run.history()), run.due()) for call, run in runs.items()}


def test_what_a_frozen_server_gets_too_late_is_not_done(private_server, hasty, drive):
    calm = drive(hasty())
    calm.tick(owner="first", seize=False)
    runs = {call: prepare(calm, call) for call, (prepare, _) in LATE_CALLS.items()}
    theirs = {call: run.twin(hasty()) for call, run in runs.items()}
    warm, go, outcomes = threading.Barrier(len(LATE_CALLS) + 1), threading.Event(), {}

    def ask(call):
        run = theirs[call]
        run.renew("b")  # its connection is open, and it knows the clock
        warm.wait(20)
        go.wait(20)
        try:
            outcomes[call] = LATE_CALLS[call][1](run)
        except StorageError:
            outcomes[call] = "given up"

    for call, run in runs.items():
        theirs[call].fences.update(run.fences)
    threads = [threading.Thread(target=ask, args=(call,)) for call in LATE_CALLS]
    for thread in threads:
        thread.start()
    warm.wait(20)
    before = stored(runs)
    with frozen(private_server):
        go.set()
        for thread in threads:
            thread.join(20)
    for _ in range(3):
        calm.storage.now()  # the server has read all that had come
    assert outcomes == dict.fromkeys(LATE_CALLS, "given up")
    assert stored(runs) == before


def test_a_commit_counts_however_late_it_comes(private_server, hasty, drive):
    stand = drive(hasty())
    run = held(stand, "late")
    with frozen(private_server), pytest.raises(StorageError):
        run.complete("a")
    for _ in range(3):
        stand.storage.now()
    assert run.load().steps["b"].status == "active"
    assert run.complete("a").verdict is Verdict.APPLIED
