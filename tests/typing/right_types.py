"""Types of data, as users declare them: type checkers know the objects that come back, and find nothing wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, assert_type

from pydantic import BaseModel
from typing_extensions import TypedDict

from hephaestus_celery import (
    Async,
    Context,
    Done,
    Hephaestus,
    Instance,
    InstanceHandle,
    Ok,
    Step,
    StepConfig,
    Unique,
    WaitForEvent,
    Workflow,
    route,
)


class Order(BaseModel):
    items: int


@dataclass
class Receipt:
    number: str


class Parcel(TypedDict):
    weight: int


class Payment(BaseModel):
    payer: str


class Charge(Step[Receipt]):
    events = ("charged", "declined")

    def execute(self, instance: Instance, config: StepConfig, context: Context[Order]) -> Ok:
        assert_type(context.input, Order)
        assert_type(context.initial, dict[str, Any])
        return Ok("charged", Receipt(number="7"))


class Pack(Step[Parcel]):
    events = ("packed",)

    async def execute(self, instance: Instance, config: StepConfig, context: Context[Order]) -> Ok | Async:
        assert_type(context.result(Charge), Receipt)
        assert_type(context.result("charge"), dict[str, Any])
        return Ok("packed", {"weight": context.input.items})


class Paid(WaitForEvent[Payment]):
    pass


class Note(Step):
    events = ("noted",)

    def execute(self, instance: Instance, config: StepConfig, context: Context) -> Ok:
        assert_type(context.input, dict[str, Any])
        assert_type(context.result(Pack), Parcel)
        assert_type(context.result(Paid), Payment)
        assert_type(context.result(Pack.named("repack")), Parcel)
        return Ok("noted", {"note": context.result(Note)})


R = TypeVar("R")


class Fetch(Step[Any], Generic[R]):
    events = ("fetched",)

    def execute(self, instance: Instance, config: StepConfig, context: Context) -> Ok:
        assert_type(context.result(Note), dict[str, Any])
        return Ok("fetched")


class OrderFlow(Workflow[Order]):
    unique = Unique("typedorder")
    initial_step = Charge
    transitions = {
        (Charge, "declined"): Done,
        (Pack, "packed"): (Paid, {"event_name": "paid"}),
        (Paid, "received"): Note,
        (Note, "noted"): Done,
    }

    @route(Charge, "charged", targets=[Pack, Done])
    def after(self, context: Context[Order]) -> type[Step[Any]]:
        return Pack if context.input.items else Done


class Plain(Workflow):
    unique = Unique("typedplain")
    initial_step = Done


def start(hephaestus: Hephaestus, handle: InstanceHandle, order: Order) -> None:
    assert_type(OrderFlow.start("A-1", order), InstanceHandle)
    assert_type(OrderFlow.start("A-1", {"items": 3}), InstanceHandle)
    assert_type(hephaestus.start_instance(OrderFlow, Order(items=3), id="A-1"), InstanceHandle)
    assert_type(OrderFlow.start_many([("A-1", order), ("A-2", order)]), list[InstanceHandle | None])
    assert_type(hephaestus.start_many(OrderFlow, [("A-1", {"items": 3})]), list[InstanceHandle | None])
    assert_type(OrderFlow.retry("A-1", context=order), InstanceHandle)
    assert_type(OrderFlow.fork("A-1", Charge, context={"items": 4}), InstanceHandle)
    assert_type(hephaestus.retry("typedorder::A-1", context=order), InstanceHandle)
    assert_type(handle.retry(context=order), InstanceHandle)
    assert_type(Plain.start("A-1", {"items": 3}), InstanceHandle)
    handle.resume("paid", {"payer": "Ada"}, step=Paid)
    assert_type(Charge in handle.get().completed_steps, bool)
    assert_type(handle.get().context.result(Charge), Receipt)


async def start_on_a_loop(hephaestus: Hephaestus, order: Order) -> None:
    assert_type(await OrderFlow.aio.start("A-1", order), InstanceHandle)
    assert_type(await OrderFlow.aio.start_many([("A-2", order)]), list[InstanceHandle | None])
    assert_type(await OrderFlow.aio.retry("A-1", context=order), InstanceHandle)
    assert_type(await hephaestus.aio.start_instance(OrderFlow, order, id="A-1"), InstanceHandle)
    assert_type(await Plain.aio.start("A-1", {"items": 3}), InstanceHandle)
