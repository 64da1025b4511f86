"""A worker of ``celery.contrib.testing``, on a thread of the test's own process: timers and retries come there too."""

from __future__ import annotations

import logging
import threading
import tracemalloc
from datetime import timedelta

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from stage import eventually

from hephaestus_celery import Done, Hephaestus, Ok, RetryPolicy, Step, Unique, Wait, Workflow
from hephaestus_celery.testing import EventCapture


class Stumble(Step):
    """Fails at its first attempt."""

    events = ("ok",)
    retry = RetryPolicy(max_attempts=2, base=0.05)

    def execute(self, instance, config, context):
        if instance.step_states["stumble"].attempt == 1:
            raise RuntimeError("not yet")
        return Ok("ok")


class Stumbling(Workflow):
    unique = Unique("stumbling")
    initial_step = Stumble
    transitions = {(Stumble, "ok"): (Wait, {"duration": timedelta(milliseconds=50)}), (Wait, "timeout"): Done}


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """A worker sets the level of all logging of its process, and leaves it so."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def app(private_server, namespace):
    app = Celery("testing", broker=private_server.url, set_as_current=False)
    app.conf.update(
        hephaestus_namespace=namespace,
        task_default_queue=namespace,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"socket_timeout": 5},
    )
    yield app
    app.close()


def schedulers():
    return [thread for thread in threading.enumerate() if thread.name == "hephaestus-scheduler"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_worker_of_the_testing_tools_has_a_scheduler_for_as_long_as_it_consumes(app):
    with EventCapture() as capture, Hephaestus(app, name="testing") as hephaestus:
        for _ in range(2):  # one after the other, in one process
            with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
                assert hephaestus.start_instance(Stumbling, {}, id="a1").wait(20).status == "completed"
                [scheduler] = eventually(schedulers, what="a scheduler")
                # The worker loses its connection and makes another; its scheduler goes on.
                hephaestus.storage._client.client_kill_filter(_type="normal", skipme=True)
                assert hephaestus.start_instance(Stumbling, {}, id="a1").wait(20).status == "completed"
                assert schedulers() == [scheduler]
            eventually(lambda: not schedulers(), what="the scheduler has ended with its worker")
    inits = [event for event in capture.events if event.event[1:] == ("runner", "init")]
    assert len(inits) == 2


MANY = 1500


def chain_of(count, **attributes):
    """Steps one after the other."""
    made = [type(f"S{number}", (Step,), {"execute": lambda *_: Ok("ok"), "events": ("ok",)}) for number in range(count)]
    table = {(step, "ok"): after for step, after in zip(made, [*made[1:], Done], strict=True)}
    body = {"unique": Unique("chain"), "initial_step": made[0], "transitions": table, **attributes}
    return type("Chain", (Workflow,), body)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_worker_that_starts_makes_little_for_each_step(app, namespace):
    sizes = []
    for count in (2, 3, MANY):  # the first one imports what workers need
        flow = chain_of(count, name=f"{namespace}.{count}")
        with Hephaestus(app, name="testing") as hephaestus:
            handle = hephaestus.start_instance(flow, {}, id=f"x{count}")
            tracemalloc.start()
            with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
                size, _ = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                sizes.append(size)
                eventually(lambda get=handle.get: get().completed_steps, what="its first step")
    assert (sizes[2] - sizes[1]) / MANY < 2500  # bytes; what Celery makes of each task takes seven thousand
