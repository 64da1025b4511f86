"""Workflows with types of data; the environment says which state of a type this process has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from hephaestus_celery import Context, Done, Ok, RetryPolicy, Step, Unique, WaitForEvent, Workflow

STATE = os.environ.get("HEPHAESTUS_TEST_MODEL", "first")


class Order(BaseModel):
    items: int = Field(gt=0)
    price: Decimal = Decimal("1.50")


if STATE == "changed":

    class Receipt(BaseModel):
        total: Decimal
        currency: str

elif STATE == "mended":

    class Receipt(BaseModel):
        total: Decimal
        currency: str = "EUR"

else:

    class Receipt(BaseModel):
        total: Decimal


@dataclass
class Payment:
    payer: str
    amount: Decimal


class Parcel(TypedDict):
    label: str


class Charge(Step[Receipt]):
    async def execute(self, instance, config, context: Context[Order]):
        return Receipt(total=context.input.items * context.input.price)


class Paid(WaitForEvent[Payment]):
    pass


class Ship(Step[Parcel]):
    retry = RetryPolicy(max_attempts=5, base=0.05, jitter=False)

    def execute(self, instance, config, context: Context[Order]):
        receipt, payment = context.result(Charge), context.result(Paid)
        money = f"{receipt.total} {getattr(receipt, 'currency', 'none')}"
        return {"label": f"{context.input.items} for {payment.payer}, {money}"}


class TypedOrders(Workflow[Order]):
    name = "typedorders"
    unique = Unique("typedorders")
    initial_step = Charge
    transitions = {Charge: (Paid, {"event_name": "paid"}), Paid: Ship, Ship: Done}


class Misfit(Step[Parcel]):
    retry = RetryPolicy(max_attempts=5, base=0.05, jitter=False)
    events = ("sent", "lost")

    def execute(self, instance, config, context):
        return Ok("sent", {"label": 7, "more": 1})


class Misfits(Workflow):
    name = "typedmisfits"
    unique = Unique("typedmisfits")
    initial_step = Misfit
    transitions = {(Misfit, "sent"): Done, (Misfit, "lost"): Done}
