"""Architecture 1: the memory store has no time and no chance of its own, it goes by those that it is given."""

from __future__ import annotations

import pytest

from hephaestus_celery import Hephaestus
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.storage.memory import MemoryStorage

SECOND = 1_000_000_000


class Given:
    """Time that stands still until it is moved, and chance that is known."""

    def __init__(self):
        self.now = 1_000_000 * SECOND

    def time_ns(self):
        return self.now

    monotonic_ns = elapsed_ns = time_ns

    def sleep(self, seconds):
        self.now += int(seconds * SECOND)

    def fraction(self):
        return 0.5

    def bits(self, count):
        return 2**count - 1

    def token(self):
        return "given"


@pytest.fixture
def given():
    return Given()


@pytest.fixture
def stand(drive, given):
    return drive(MemoryStorage(clock=given, chance=given))


def test_a_run_starts_at_the_time_that_is_given(stand, given):
    assert stand.start().load().started_at == given.now // 1000


def test_a_lease_expires_when_the_clock_that_is_given_says_so(stand, given):
    run = stand.start()
    run.claim("a")
    given.sleep(29)
    assert list(stand.tick().entries) == []
    given.sleep(2)
    [entry] = stand.tick().entries
    assert (entry.kind, entry.attempt.fence) == (Due.LEASE_EXPIRED, "given")


def test_a_runtime_gives_its_clock_to_the_memory_store_that_it_makes(given):
    with Hephaestus(clock=given, chance=given) as runtime:
        assert runtime.storage.now() == given.now // 1000
