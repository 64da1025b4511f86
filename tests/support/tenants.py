"""Applications that put the tenant of the moment into their messages, each in another way, as packages and agents do."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import kombu.messaging
import recorder
from celery import Celery, Task, current_task, signals

from hephaestus_celery import Again, Async, Done, Error, Ok, RetryPolicy, Step, Unique, Wait, Workflow

tenant = ContextVar("tenant", default="public")
NAMES = ("by_send_task", "by_stamp", "by_receiver", "by_publish", "by_apply_async", "by_router")


class SendsTask(Celery):
    """An application whose ``send_task`` adds a header."""

    def send_task(self, name, args=None, kwargs=None, **options):
        options["headers"] = {**(options.get("headers") or {}), "by_send_task": tenant.get()}
        return super().send_task(name, args=args, kwargs=kwargs, **options)


class Stamps(Celery):
    """An application that stamps its tasks."""

    def send_task(self, name, args=None, kwargs=None, **options):
        options.update(stamped_headers=["by_stamp"], by_stamp=tenant.get())
        return super().send_task(name, args=args, kwargs=kwargs, **options)


class ApplyAsync(Task):
    """A class of tasks whose ``apply_async`` adds a header."""

    abstract = True

    def apply_async(self, args=None, kwargs=None, **options):
        options["headers"] = {**(options.get("headers") or {}), "by_apply_async": tenant.get()}
        return super().apply_async(args, kwargs, **options)


def on_publish(headers: Any = None, **_: Any) -> None:
    """A receiver that adds a header; and another one that only workers add."""
    headers["by_receiver"] = tenant.get()
    if os.environ.get("HEPHAESTUS_TEST_ROLE") == "worker":
        headers["sent_by"] = "a worker"


def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> None:
    """A router that adds a header."""
    options["headers"] = {**(options.get("headers") or {}), "by_router": tenant.get()}


class Stand:
    """In the place of a function, as `wrapt` puts it there: in all but its type it is what it stands for."""

    def __init__(self, wrapped: Any) -> None:
        self.__wrapped__ = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    @property
    def __class__(self) -> Any:
        return type(self.__wrapped__)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **options: Any) -> Any:
        options["headers"] = {**(options.get("headers") or {}), "by_publish": tenant.get()}
        return self.__wrapped__(*args, **options)


@contextlib.contextmanager
def wrapped_publish() -> Iterator[None]:
    """Wrap what publishes messages, as agents do."""
    original = kombu.messaging.Producer.publish
    kombu.messaging.Producer.publish = Stand(original)
    try:
        yield
    finally:
        kombu.messaging.Producer.publish = original


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Have each message noted before it is published."""
    signals.before_task_publish.connect(on_publish, weak=False)
    try:
        yield
    finally:
        signals.before_task_publish.disconnect(on_publish)


class HasClass(Celery):
    """An application with a class of tasks of its own."""

    task_cls = f"{__name__}:ApplyAsync"


class Everything(Stamps, SendsTask, HasClass):
    """All of these at once."""


@contextlib.contextmanager
def everything() -> Iterator[None]:
    """What goes with :class:`Everything`, but for the router."""
    with wrapped_publish(), listening():
        yield


def carried() -> dict[str, Any]:
    """What the task that is being executed was sent with."""
    request: Any = current_task.request
    return {**(request.headers or {}), **(request.stamps or {})}


class Who(Step):
    """Notes who it is executed for."""

    events = ("done",)
    retry = RetryPolicy(max_attempts=3, base=0.05, jitter=False)

    def execute(self, instance, config, context):
        attempt = instance.step_states[self.key].attempt
        known = {"step": self.key, "round": context.round, "attempt": attempt}
        recorder.note("seen", run_id=instance.run_id, **known, headers=carried())
        return self.answer(attempt)

    def answer(self, attempt):
        return Ok("done")


class Retried(Who):
    def answer(self, attempt):
        return Ok("done") if attempt > 1 else Error("not yet")


class Asked(Who):
    def answer(self, attempt):
        return Async()


class Killed(Who):
    def answer(self, attempt):
        if attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return Ok("done")


class Thrice(Who):
    """Executed in three rounds: the second begins at once, the third after a time."""

    def execute(self, instance, config, context):
        last = super().execute(instance, config, context)
        return last if isinstance(last, Error) or context.round == 3 else Again(0.05 * (context.round - 1))


class TakesBack(Thrice):
    """Killed in its first attempt, and fails in its second."""

    def answer(self, attempt):
        if attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return Error("not yet") if attempt == 2 else Ok("done")


class Declines(Who):
    def answer(self, attempt):
        return Error("no", retry=False)


class Bill(Workflow, abstract=True):
    """Notes who its result is computed for."""

    unique = Unique("bill")

    @classmethod
    def result(cls, context):
        recorder.note("billed", flow=cls.name, headers=carried())
        return {}


class BillAfterStep(Bill):
    name = "bill_after_step"
    initial_step = Who
    transitions = {(Who, "done"): Done}


class BillAfterTimer(Bill):
    name = "bill_after_timer"
    initial_step = (Wait, {"duration": 0.1})
    transitions = {(Wait, "timeout"): Done}


LEFT, JOINED, WOKEN, ANSWERED, SENT_BACK = (
    Who.named(name) for name in ("left", "joined", "woken", "answered", "sent_back")
)


class Visits(Workflow):
    """All ways in which one step comes from another."""

    name = "visits"
    unique = Unique("visit")
    initial_step = Who
    transitions = {
        (Who, "done"): [LEFT, Retried],
        (LEFT, "done"): JOINED,
        (Retried, "done"): JOINED,
        (JOINED, "done"): (Wait, {"duration": 1, "unit": "second"}),
        (Wait, "timeout"): WOKEN,
        (WOKEN, "done"): Asked,
        (Asked, "done"): ANSWERED,
        (ANSWERED, "done"): Killed,
        (Killed, "done"): Done,
    }


ATTEMPTS = {
    *(("who", 1), ("left", 1), ("retried", 1), ("retried", 2), ("joined", 1), ("woken", 1)),
    *(("asked", 1), ("answered", 1), ("killed", 1), ("killed", 2)),
}


class Returned(Workflow):
    """A step in rounds, and compensations, one of them in rounds."""

    name = "returned"
    unique = Unique("returned")
    initial_step = Who
    transitions = {(Who, "done"): Thrice, (Thrice, "done"): Declines, (Declines, "done"): Done}
    compensations = {Who: SENT_BACK, Thrice: TakesBack}


RETURNED = {
    *(("who", 1, 1), ("thrice", 1, 1), ("thrice", 2, 1), ("thrice", 3, 1), ("declines", 1, 1)),
    *(("takes_back", number, attempt) for number in (1, 2, 3) for attempt in (1, 2, 3)),
    ("sent_back", 1, 1),
}
"""The step, round and attempt of each execution in it."""
