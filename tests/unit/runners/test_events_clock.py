"""Events carry the time of the clock that their runtime was given."""

from __future__ import annotations

from defining import A, define

from hephaestus_celery import Done, Hephaestus
from hephaestus_celery.clock import SystemClock
from hephaestus_celery.testing.capture import EventCapture

MOMENT = 1_700_000_000_000_000_000


class StoppedWallClock(SystemClock):
    """A clock that passes, but for its wall time."""

    def time_ns(self):
        return MOMENT


def test_the_events_of_a_runtime_have_the_system_time_of_its_clock(namespace):
    flow = define(name=namespace, initial_step=A, transitions={(A, "ok"): Done})
    with EventCapture() as capture, Hephaestus(name=namespace, clock=StoppedWallClock()) as hephaestus:
        hephaestus.start_instance(flow, {}, id="1").wait(10)
    times = {event.measurements["system_time"] for event in capture.events if "system_time" in event.measurements}
    assert times == {MOMENT}
