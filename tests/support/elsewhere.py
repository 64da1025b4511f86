"""An application whose messages go elsewhere than its routing says, each workflow's in another way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import recorder
from celery import Celery, Task, signals

from hephaestus_celery import Done, Ok, Step, Unique, Workflow

QUEUE = "{}-tenant"
"""The queue of a tenant, by the application's own."""
SETTINGS = {"task_inherit_parent_priority": True, "task_queue_max_priority": 10}


class Slow(Step):
    """Takes its time, so that others wait."""

    events = ("done",)

    def execute(self, instance, config, context):
        recorder.note("executed", run_id=instance.run_id, step=self.key, value=None)
        time.sleep(0.05)
        return Ok("done")


def flow(name: str, **options: Any) -> type[Workflow]:
    """A workflow of two steps with a name of its own."""
    first = type("First", (Slow,), options)
    second = type("Second", (Slow,), {})
    body = {
        "name": name,
        "unique": Unique(name),
        "initial_step": first,
        "transitions": {(first, "done"): second, (second, "done"): Done},
    }
    return type(name.title(), (Workflow,), body)


BY_CLASS, BY_SEND, BY_RECEIVER = (flow(name) for name in ("byclass", "bysend", "byreceiver"))
INHERITED = flow("inherited", priority=5)
ALL = (BY_CLASS, BY_SEND, BY_RECEIVER, INHERITED)


class Elsewhere(Task):
    """A class of tasks that chooses a queue by itself."""

    abstract = True

    def apply_async(self, args=None, kwargs=None, **options):
        if str(self.name).startswith(BY_CLASS.name):
            options["queue"] = QUEUE.format(self.app.conf.task_default_queue)
        return super().apply_async(args, kwargs, **options)


class Sends(Celery):
    """An application that gives its tasks priorities by itself."""

    task_cls = f"{__name__}:Elsewhere"

    def send_task(self, name, args=None, kwargs=None, **options):
        if name.startswith(BY_SEND.name):
            options["priority"] = 7
        return super().send_task(name, args=args, kwargs=kwargs, **options)


def prefer(sender: Any = None, properties: Any = None, **_: Any) -> None:
    """A receiver that gives messages a priority before they are published."""
    if str(sender).startswith(BY_RECEIVER.name):
        properties["priority"] = 3


@contextlib.contextmanager
def preferring() -> Iterator[None]:
    """Have that receiver called."""
    signals.before_task_publish.connect(prefer, weak=False)
    try:
        yield
    finally:
        signals.before_task_publish.disconnect(prefer)
