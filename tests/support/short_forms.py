"""Workflows in short: the contract's example, steps that are functions, and steps that are an application's own tasks."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import recorder
from celery import Celery, Task, current_app, current_task, shared_task
from celery.exceptions import Ignore

from hephaestus_celery import (
    FAILED,
    Async,
    Context,
    Done,
    Error,
    Instance,
    Ok,
    RetryPolicy,
    Step,
    Unique,
    Workflow,
    step,
    task_step,
)

QUICK = RetryPolicy(max_attempts=3, base=0.05, jitter=False)


class Validate(Step):
    events = ("valid", "invalid")

    def execute(self, instance, config, context):
        if context.initial["items"] > 0:
            return Ok("valid", {"weight": 3 * context.initial["items"]})
        return Ok("invalid")


class Charge(Step):
    events = ("charged",)
    retry = RetryPolicy(max_attempts=3, backoff="exponential", base=0.01, max_backoff=10)

    def execute(self, instance, config, context):
        return Error("declined") if context.initial.get("broke") else "charged"


@step
def reserve(context):
    return {"shelf": 7}


class Ship(Step):
    events = ("shipped",)

    def execute(self, instance, config, context):
        return Ok("shipped", {"from": context.result(reserve)["shelf"]})


@step
async def Apologise():  # noqa: N802 - as in the example
    await asyncio.sleep(0)


class OrderFlow(Workflow):
    unique = Unique("short_order")
    initial_step = Validate
    transitions = {
        (Validate, "valid"): [Charge, reserve],
        (Validate, "invalid"): Done,
        (Charge, "charged"): Ship,
        (Charge, FAILED): Apologise,
        reserve: Ship,
        Apologise: Done,
        (Ship, "shipped"): Done,
    }
    joins = {Ship: "all"}


@step(events=("told", "timeout"), time_limit=30)
def ask(instance: Instance, config: Any) -> Async:
    recorder.note("asked", of=instance.id, config=config)
    return Async(timeout=60)


@step(retry=QUICK)
def flaky(*, instance: Instance, context: Context) -> dict[str, Any]:
    if instance.step_states["flaky"].attempt == 1:
        raise KeyError("total")
    return {"told": context.result(ask)["by"]}


class Functions(Workflow):
    unique = Unique("functions")
    initial_step = (ask, {"who": "Ann"})
    transitions = {(ask, "told"): flaky, (ask, "timeout"): Done, flaky: Done}


class Session(Task):
    """A base class of the application's, as Flask's guide has one."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.session = "open"
        try:
            return self.run(*args, **kwargs)
        finally:
            self.session = "closed"

    def before_start(self, *_: Any) -> None:
        recorder.note("hook", hook="before_start")

    on_failure = on_retry = on_success = after_return = before_start


def shared(**options: Any) -> Any:
    """``@shared_task`` in workers; it would add its tasks to every application of the tests' own process."""
    if os.environ.get("HEPHAESTUS_TEST_ROLE") == "worker":
        return shared_task(**options)
    return Celery("short_forms", set_as_current=False).task(shared=False, **options)


class RefusedError(Exception):
    """What an outside system answers now and then."""


def refuse():
    raise RefusedError("busy")


@shared(bind=True, base=Session)
def fetch(self, url):
    """Fetches a page."""
    request = self.request
    recorder.note(
        "fetch",
        id=request.id,
        retries=request.retries,
        app=current_app.main,
        task=current_task.name,
        session=self.session,
    )
    if request.retries == 0:
        try:
            refuse()
        except RefusedError:
            raise self.retry(countdown=3600, max_retries=0) from None
    if request.retries == 1:
        raise self.retry(exc=RefusedError("still busy"), countdown=3600)
    return {"page": url, "by": request.hostname is not None}


@shared(autoretry_for=(RefusedError,), retry_backoff=3600, max_retries=1, name="shop.index-page")
def index(page):
    recorder.note("index")
    if current_task.request.retries == 0:
        raise RefusedError("busy")
    return len(page)


Fetch = task_step(fetch, retry=QUICK)
Index = task_step(
    index, retry=QUICK, event="indexed", arguments=lambda context: {"page": context.result(Fetch)["page"]}
)


class Tasks(Workflow):
    unique = Unique("tasks")
    initial_step = Fetch
    transitions = {Fetch: Index, (Index, "indexed"): Done}


@shared()
def drop():
    raise Ignore("seen before")


Drop = task_step(drop)


class Dropping(Workflow):
    unique = Unique("dropping")
    initial_step = Drop
    transitions = {Drop: Done}
