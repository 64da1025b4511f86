"""Mistakes that type checkers find: one in each line that is marked, and nothing else."""

from __future__ import annotations

from hephaestus_celery import (
    Again,
    Context,
    Done,
    Hephaestus,
    Instance,
    InstanceHandle,
    Ok,
    RetryPolicy,
    Step,
    StepConfig,
    Unique,
    Workflow,
    step,
    task_step,
)


class Validate(Step):
    events = 5  # wrong: not names
    retry = 3  # wrong: not a policy
    time_limit = "a minute"  # wrong: neither seconds nor a timedelta

    def execute(self, instance: Instance, config: StepConfig, context: Context) -> list[str]:  # wrong: not a result
        return ["valid"]


class Charge(Step):
    events = ("charged",)

    async def execute(self, instance: Instance, config: StepConfig, context: Context) -> int:  # wrong: not a result
        return 1


class Ship(Step):
    events = ("shipped",)

    def execute(self, context: Context) -> Ok:  # wrong: it is called with three arguments
        return Ok("shipped")


@step  # wrong: not a result
def weigh(context: Context) -> int:
    return 3


@step(retries=3)  # wrong: no such option
def pack(context: Context) -> None: ...


@step(retry=3)  # wrong: not a policy
def stamp(context: Context) -> str:
    return "ok"


@step
def sign(context: Context) -> dict[str, int]:
    return {}


class OrderFlow(Workflow):
    unique = "orderid"  # wrong: not a Unique
    initial_step = Ship
    transitions = {(Ship, "shipped"): Done}
    version = "1"  # wrong: not a number


class LetterFlow(Workflow):
    unique = Unique("letterid")
    initial_step = sign
    transitions = {sign: Done}
    deadline = "30 days"  # wrong: neither seconds nor a timedelta
    compensations = [sign]  # wrong: not a mapping
    joins = [sign]  # wrong: not a mapping


def misuse(hephaestus: Hephaestus, handle: InstanceHandle, instance: Instance, context: Context) -> None:
    hephaestus.start_instance(OrderFlow, {"items": 3})  # wrong: no id
    hephaestus.start_instance(Ship, {}, id="A-1")  # wrong: a step is no workflow
    hephaestus.list(state="running")  # wrong: no such filter
    hephaestus.list(limit="10")  # wrong: not a number
    hephaestus.resume("orderid::A-1")  # wrong: no event
    OrderFlow.start("A-1", {}, idempotent=True)  # wrong: no such option
    OrderFlow.start("A-1", ["items"])  # wrong: not a mapping
    OrderFlow.list(workflow=OrderFlow)  # wrong: it is this one
    OrderFlow.wait("A-1", "5")  # wrong: neither seconds nor a timedelta
    handle.wait(timeout="5")  # wrong: neither seconds nor a timedelta
    handle.result(timeout="5")  # wrong: neither seconds nor a timedelta
    print(handle.result().total)  # wrong: it is a dict
    handle.cancel("enough", compensation=True)  # wrong: no such option
    OrderFlow.cancel("A-1", compensate="yes")  # wrong: neither True nor False
    instance.step("charge")  # wrong: not a step
    print(instance.step(Charge).attempts)  # wrong: no such field
    print(instance.undoing)  # wrong: no such field
    print(context.rounds)  # wrong: no such field
    Again("soon")  # wrong: neither seconds nor a timedelta
    Again(1, ["page 2"])  # wrong: not a mapping
    Again()  # wrong: no time
    handle.run_id = "other"  # wrong: handles do not change
    instance.idempotency_key("charge")  # wrong: not a step
    context.result(5)  # wrong: neither a step nor its key
    Ok("valid", ["seen"])  # wrong: not a mapping
    sign.function()  # wrong: no context
    task_step(sign, events=("ok",))  # wrong: a task gives one event
    task_step(sign, arguments={"kilos": 1})  # wrong: not a function
    task_step(sign, max_retries=3)  # wrong: no such option
    sign.function(context).upper()  # wrong: it is a dict
    RetryPolicy(backoff="quadratic")  # wrong: no such backoff
    Unique("orderid", scope="shop")  # wrong: no such scope
    Hephaestus(store=None)  # wrong: no such option
    hephaestus.retry("orderid::A-1", context=["items"])  # wrong: not a mapping
    hephaestus.fork("orderid::A-1")  # wrong: no step to begin at
    hephaestus.pause(OrderFlow)  # wrong: a workflow is paused by another call
    hephaestus.start_many(OrderFlow, ["A-1"])  # wrong: no pairs of value and context
    hephaestus.start_many(OrderFlow, [], on_conflict="ignore")  # wrong: no such choice
    hephaestus.retry_many(limit=10)  # wrong: bulk calls have no pages
    hephaestus.events()  # wrong: no group
    handle.retry("A-2")  # wrong: the handle says which run


async def misuse_event_loops(hephaestus: Hephaestus, handle: InstanceHandle) -> None:
    handle.aio.status.upper()  # wrong: it is awaited
    await handle.status  # wrong: it is no coroutine
    await hephaestus.aio.wait("orderid::A-1", "5")  # wrong: neither seconds nor a timedelta
    await OrderFlow.aio.start({"items": 3})  # wrong: no value
    await hephaestus.aio.list(state="running")  # wrong: no such filter
    for _ in hephaestus.aio.events("audit"):  # wrong: it is iterated over with async for
        pass
