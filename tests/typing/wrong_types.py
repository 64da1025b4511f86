"""Mistakes with types of data that type checkers find: one in each line that is marked, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from hephaestus_celery import Context, Done, Hephaestus, Instance, Ok, Step, StepConfig, Unique, WaitForEvent, Workflow


class Order(BaseModel):
    items: int


@dataclass
class Receipt:
    number: str


class Charge(Step[Receipt]):
    events = ("charged",)

    def execute(self, instance: Instance, config: StepConfig, context: Context[Order]) -> Ok:
        print(context.input.weight)  # wrong: no such field
        print(context.input["items"])  # wrong: an object, and no mapping
        print(context.result(Charge).total)  # wrong: no such field
        return Ok("charged", 5)  # wrong: neither a mapping nor an object with fields


class Count(Step[int]):  # wrong: a result has fields
    events = ("counted",)

    def execute(self, instance: Instance, config: StepConfig, context: Context) -> Ok:
        return Ok("counted")


class Named(WaitForEvent[str]):  # wrong: data has fields
    pass


class OrderFlow(Workflow[Order]):
    unique = Unique("wrongorder")
    initial_step = Done


def start(hephaestus: Hephaestus, receipt: Receipt) -> None:
    OrderFlow.start("A-1", receipt)  # wrong: of another type
    OrderFlow.start("A-1", 5)  # wrong: neither a mapping nor an order
    OrderFlow.start_many([("A-1", receipt)])  # wrong: of another type
    OrderFlow.retry("A-1", context=receipt)  # wrong: of another type
    hephaestus.start_instance(OrderFlow, receipt, id="A-1")  # wrong: of another type


async def start_on_a_loop(receipt: Receipt) -> None:
    await OrderFlow.aio.start("A-1", receipt)  # wrong: of another type
