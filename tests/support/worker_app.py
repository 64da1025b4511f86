"""The application that worker processes of the tests run: `celery -A worker_app worker`."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import flows
import hooked
import odd  # noqa: F401 - defines more of them
import recorder
from celery import Celery, signals

from hephaestus_celery import Hephaestus, telemetry
from hephaestus_celery.storage.redis.scripts import Scripts
from hephaestus_celery.storage.redis.store import RedisStorage


def make_app(kind: type[Celery] = Celery) -> Celery:
    """An application from the test's environment."""
    app = kind("acceptance", broker=os.environ["HEPHAESTUS_TEST_BROKER"])
    app.conf.update(
        broker_connection_retry_on_startup=True,
        hephaestus_namespace=os.environ["HEPHAESTUS_TEST_NAMESPACE"],
        hephaestus_state_backend=os.environ["HEPHAESTUS_TEST_STATE"],
        task_default_queue=os.environ["HEPHAESTUS_TEST_NAMESPACE"],
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=float(os.environ.get("HEPHAESTUS_TEST_SOFT_SHUTDOWN", "0")),
    )
    app.conf.update(json.loads(os.environ.get("HEPHAESTUS_TEST_SETTINGS", "{}")))
    return app


def publish_twice(
    body: Any = None, headers: Any = None, routing_key: str = "", properties: Any = None, **_: Any
) -> None:
    """Send every message a second time, as a broker that redelivers does."""
    with app.producer_or_acquire() as producer:
        producer.publish(body, headers=headers, routing_key=routing_key, serializer="json", **properties)


def note_delivery(sender: Any = None, **_: Any) -> None:
    """Note how a task's message came."""
    info = sender.request.delivery_info
    recorder.note("delivered", task=sender.name, queue=info["routing_key"], priority=info["priority"])


def broken_handler(*_: Any) -> None:
    """A telemetry handler with a fault."""
    raise RuntimeError("this handler is broken")


def note_task(task_id: str = "", **_: Any) -> None:
    """What an application keeps in a context variable while a task is executed."""
    flows.TASK.set(task_id)


def slow_receiver(sender: Any = None, **_: Any) -> None:
    """A receiver, or a handler, that takes its time before step a."""
    if getattr(sender, "name", "linear.a") == "linear.a":
        time.sleep(float(os.environ["HEPHAESTUS_TEST_SLOW_START"]))


def slow_handler(_event: Any, _measurements: Any, metadata: Any, _config: Any) -> None:
    """The same from telemetry."""
    if metadata["step_key"] == "a":
        slow_receiver()


def cut_off() -> None:
    """Let the first process that calls a script for so many times die before it does: ``settle:2``."""
    call, slices, folder = Scripts.call, [0], Path(os.environ[recorder.FOLDER])
    script, _, number = os.environ["HEPHAESTUS_TEST_CUT"].partition(":")

    def until_cut(self: Scripts, connections: Any, name: str, *args: Any, **options: Any) -> Any:
        if name == script:
            slices[0] += 1
            if slices[0] == int(number) and not (folder / "cut").exists():
                (folder / "cut").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return call(self, connections, name, *args, **options)

    Scripts.call = until_cut  # type: ignore[method-assign]


def hold_cancellations() -> None:
    """Let who cancels many runs stop before it cancels the third page of them, until the file of that name is there."""
    cancel_many, pages, folder = RedisStorage.cancel_many, [0], Path(os.environ[recorder.FOLDER])

    def until_held(self: RedisStorage, *args: Any, **options: Any) -> Any:
        pages[0] += 1
        if pages[0] == 3:
            (folder / "held").touch()
            recorder.wait_for_gate(os.environ["HEPHAESTUS_TEST_HOLD"])
        return cancel_many(self, *args, **options)

    RedisStorage.cancel_many = until_held  # type: ignore[method-assign]


app = make_app()
hephaestus = Hephaestus(app)
hooked.add_to(hephaestus)


@app.task(name="counted", shared=False)
def counted(initial: Any) -> None:
    """A plain task, which a step hands its context to."""
    recorder.note("counted", initial=initial)


if os.environ.get("HEPHAESTUS_TEST_ROLE") == "worker":
    telemetry.attach_many("recorder", [*telemetry.events(), *telemetry.extension_events()], recorder.on_event)
signals.task_prerun.connect(note_task, weak=False)
if os.environ.get("HEPHAESTUS_TEST_TWICE"):
    signals.before_task_publish.connect(publish_twice, weak=False)
if os.environ.get("HEPHAESTUS_TEST_DELIVERIES"):
    signals.task_prerun.connect(note_delivery, weak=False)
if os.environ.get("HEPHAESTUS_TEST_SLOW_START"):
    signals.task_prerun.connect(slow_receiver, weak=False)
    telemetry.attach("slow", telemetry.step_start_event(), slow_handler)
if os.environ.get("HEPHAESTUS_TEST_BROKEN_HANDLER"):
    telemetry.attach("broken", telemetry.step_stop_event(), broken_handler)
if os.environ.get("HEPHAESTUS_TEST_CUT"):
    cut_off()
if os.environ.get("HEPHAESTUS_TEST_HOLD"):
    hold_cancellations()
