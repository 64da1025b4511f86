"""An application with a class of tasks of its own, as Flask's documentation has it, and hooks of all kinds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import recorder
from celery import Task

from hephaestus_celery import Done, Error, Ok, RetryPolicy, Step, Unique, Workflow

context_of = ContextVar("context_of", default="none")


@contextlib.contextmanager
def app_context() -> Iterator[None]:
    """What Flask's `app.app_context()` does."""
    token = context_of.set("the application's")
    try:
        yield
    finally:
        context_of.reset(token)


def hook(name: str) -> Any:
    """A hook that notes that it was called."""

    def called(self: Any, *_: Any) -> None:
        recorder.note("hook", hook=name, task=self.name, made=self.made)

    return called


class OwnTask(Task):
    """Says otherwise in all that a step's task says, and keeps what Celery calls of it."""

    abstract = True
    acks_late = False
    ignore_result = False
    autoretry_for = (Exception,)
    max_retries = 0
    throws = (RuntimeError,)
    before_start, on_success, on_failure = hook("before_start"), hook("on_success"), hook("on_failure")

    def __init__(self) -> None:
        self.made = "by its own __init__"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with app_context():
            return super().__call__(*args, **kwargs)


ANNOTATIONS = {"*": {"after_return": hook("after_return"), "on_retry": hook("on_retry")}}


class Plain(Step):
    events = ("done",)

    def execute(self, instance, config, context):
        return Ok("done", {"context": context_of.get()})


class Later(Plain):
    async def execute(self, instance, config, context):
        return Ok("done", {"context": context_of.get()})


class Flaky(Plain):
    retry = RetryPolicy(max_attempts=2, base=0.05, jitter=False)

    def execute(self, instance, config, context):
        if instance.step_states[self.key].attempt == 1:
            return Error("not yet")
        return super().execute(instance, config, context)


class Own(Workflow):
    name = "own"
    unique = Unique("own")
    initial_step = Plain
    transitions = {(Plain, "done"): Later, (Later, "done"): Flaky, (Flaky, "done"): Done}


class Broken(Plain):
    retry = RetryPolicy(max_attempts=1)

    def execute(self, instance, config, context):
        raise RuntimeError("it broke")


class OwnBroken(Workflow):
    name = "own_broken"
    unique = Unique("own")
    initial_step = Broken
    transitions = {(Broken, "done"): Done}
