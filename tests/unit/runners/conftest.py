"""A small workflow, a driver over memory, and a scheduler whose messages go into a list."""

from __future__ import annotations

import secrets
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from defining import A, B, define

from hephaestus_celery import Done, RetryPolicy
from hephaestus_celery.config import Settings
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.local import LocalRunner
from hephaestus_celery.runners.scheduler import Scheduler
from hephaestus_celery.storage.memory import MemoryStorage
from tests.support.starting import create

AT_ONCE = RetryPolicy(max_attempts=2, base=0, jitter=False)


@pytest.fixture
def flow():
    """A then B, each attempted twice at most, without a rest in between."""
    return define(
        name=f"runners.{secrets.token_hex(6)}",
        initial_step=A,
        transitions={(A, "ok"): B, (B, "ok"): Done},
        default_retry=AT_ONCE,
    )


@pytest.fixture
def make_driver():
    """``make_driver(lease=..., dispatch_timeout=...)``: a driver over an empty memory; it ends with the test."""
    made = []

    def make(storage=None, **settings):
        durations = {name: timedelta(seconds=value) for name, value in settings.items()}
        driver = Driver(storage=storage or MemoryStorage(), settings=Settings(**durations), dispatcher=LocalRunner())
        made.append(driver)
        return driver

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def start(flow):
    """``start(driver)``: a new run; gives its first message."""
    return lambda driver, value="a1": create(driver, flow, id=f"orderid::{value}")[1][0]


@pytest.fixture
def schedule():
    """``schedule(driver)``: a running scheduler; ``sent`` is what it sends, ``wait(n)`` waits for n messages."""
    made = []

    def begin(driver, dispatch=None):
        sent, changed = [], threading.Condition()

        def note(messages):
            if dispatch is not None:
                dispatch(messages)
            with changed:
                sent.extend(messages)
                changed.notify_all()

        def wait(count):
            with changed:
                assert changed.wait_for(lambda: len(sent) >= count, 20), sent
            return sent

        scheduler = Scheduler(lambda: driver, dispatch=note, worker=Worker(hostname="w1"))
        made.append(scheduler)
        scheduler.start()
        return SimpleNamespace(sent=sent, wait=wait, scheduler=scheduler)

    yield begin
    for scheduler in made:
        scheduler.stop()
