"""Time on a real server: its clock is set while it runs, it is frozen, and its replies are lost."""

from __future__ import annotations

import dataclasses
import os
import time
from datetime import timedelta

import pytest
from settable import SettableServer

from hephaestus_celery.core.run import Due, Verdict
from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.storage.redis.store import RedisStorage

LEASE = timedelta(seconds=3)
LATE = 2.5
"""Seconds by which a timer may be late: a scheduler looks once in two seconds at least."""
STEPS = [60, -3600, 40 * 86400]
SECOND = 1_000_000


@pytest.fixture
def settable(tmp_path):
    try:
        server = SettableServer(tmp_path)
    except ConfigurationError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with server:
        yield server


@dataclasses.dataclass
class House:
    """A scheduler, the worker whose leases a thread keeps, and what has come due by the clock on the wall of the test."""

    drive: object
    url: str
    namespace: str

    def __post_init__(self):
        self.worker, self.stand, self.other = (self.drive(self.storage()) for _ in range(3))
        self.came: list[tuple[float, object]] = []

    def storage(self):
        return RedisStorage(self.url, namespace=self.namespace, lease=LEASE)

    def look(self, *, owner="first", stand=None):
        self.came += [(time.monotonic(), entry) for entry in (stand or self.stand).tick(owner=owner).entries]

    def go_on(self, seconds, *, held=(), owner="first", stand=None):
        """Look often, and give signs of life, three times a lease."""
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
        busy.id: Due.OVERRAN,  # its time limit was over; its lease never was
    }
    for run, wanted in ((soon, 2), (waits, 4), (fresh, 6), (busy, 6)):
        assert wanted - 0.2 <= due[run.id][1] <= wanted + LATE, (run.new.instance_id, due)
    assert late.complete("a").verdict is Verdict.APPLIED


@pytest.mark.parametrize("step", [60, -3600])
def test_who_takes_the_seat_over_takes_the_step_back(house, settable, step):
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
