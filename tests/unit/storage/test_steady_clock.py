"""What a process believes of the server's clock, by what it has read before."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from given_time import GivenClock

from hephaestus_celery.storage.redis.steady_clock import Reading, SteadyClock

SECOND = 1_000_000
HOUR = 3600 * SECOND


@dataclass
class Server:
    """A server whose clock is ``ahead`` of the true time; ``tick()`` is what its scheduler does."""

    clock: GivenClock
    ahead: int = 0
    offset: int = 0
    beat: int | None = None
    read: int = 0

    @property
    def true(self):
        return self.clock.now_ns // 1000

    def tick(self):
        self.offset, self.beat = -self.ahead, self.true

    def reading(self):
        self.read += 1
        return Reading(time=self.true + self.ahead, offset=self.offset, beat=self.beat)

    def process(self):
        return SteadyClock(self.reading, clock=self.clock)

    def error(self, process):
        """By how much the process is wrong, in seconds."""
        return (process.now()[0] - self.true) / SECOND


@pytest.fixture
def server():
    return Server(GivenClock())


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_who_has_read_the_clock_before_is_never_wrong(server, jump):
    server.tick()
    process = server.process()
    assert server.error(process) == 0
    server.clock.sleep(1)
    server.ahead = jump
    process.look()
    for _ in range(30):
        server.clock.sleep(0.1)
        assert server.error(process) == 0
    server.tick()
    server.clock.sleep(0.6)
    assert server.error(process) == 0


def test_who_reads_it_first_after_it_was_set_is_right_as_soon_as_a_scheduler_has_ticked(server):
    server.tick()
    server.clock.sleep(1)
    server.ahead = HOUR
    process = server.process()
    assert server.error(process) == 3600  # it can't be known
    assert not process.is_reset  # so a scheduler that was slow would not take that for a change of the clock
    server.clock.sleep(1.5)
    assert server.error(process) == 3600
    server.tick()
    server.clock.sleep(0.6)
    assert server.error(process) == 0


def test_where_no_scheduler_is_at_work_the_clock_is_soon_read_once_a_minute_again(server):
    server.tick()
    server.clock.sleep(3600)
    process = server.process()
    for _ in range(200):
        server.clock.sleep(0.1)
        assert server.error(process) == 0
    assert server.read < 25
    read = server.read
    for _ in range(50):
        server.clock.sleep(1)
        assert server.error(process) == 0
    assert server.read <= read + 1


def test_a_first_reading_that_a_scheduler_confirms_is_good_for_a_minute(server):
    server.tick()
    server.clock.sleep(1)
    process = server.process()
    for _ in range(59):
        assert server.error(process) == 0
        server.clock.sleep(1)
    assert server.read == 1
