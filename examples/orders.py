"""An order: checked, then charged and reserved side by side, and shipped once it is both paid and reserved.

With workers:       celery -A orders worker
In this process:    python examples/orders.py       (no broker, no Redis, no workers)
"""

from __future__ import annotations

import os

from celery import Celery

from hephaestus_celery import (
    Context,
    Done,
    Hephaestus,
    Instance,
    InstanceHandle,
    Ok,
    RetryPolicy,
    Step,
    Unique,
    WaitForEvent,
    Workflow,
)

app = Celery("orders", broker=os.environ.get("HEPHAESTUS_BROKER", "redis://localhost:6379/0"))
app.conf.broker_connection_retry_on_startup = True
hephaestus = Hephaestus(app)


class Validate(Step):
    events = ("valid", "invalid")

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        items = context.initial["items"]
        return Ok("valid", {"total": 14 * items}) if items > 0 else Ok("invalid")


class Charge(Step):
    events = ("charged",)
    retry = RetryPolicy(max_attempts=3, backoff="exponential", base=0.5, max_backoff=10)

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        # The same for every attempt: a bank that is asked twice sends one invoice.
        invoice = instance.idempotency_key(self)
        return Ok("charged", {"invoice": invoice, "amount": context.steps["validate"]["total"]})


class Reserve(Step):
    events = ("reserved",)

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        return Ok("reserved", {"shelf": "B7"})


class Ship(Step):
    events = ("shipped",)

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        payer, shelf = context.steps["payment"]["payer"], context.steps["reserve"]["shelf"]
        return Ok("shipped", {"label": f"from shelf {shelf} to {payer}"})


Payment = WaitForEvent.named("payment")


class OrderFlow(Workflow):
    unique = Unique("orderid")
    initial_step = Validate
    transitions = {
        (Validate, "valid"): [Charge, Reserve],  # side by side
        (Validate, "invalid"): Done,
        (Charge, "charged"): (Payment, {"event_name": "paid"}),  # days may pass; nothing runs meanwhile
        (Payment, "received"): Ship,  # Ship waits for both branches
        (Reserve, "reserved"): Ship,
        (Ship, "shipped"): Done,
    }


def main() -> None:
    app.conf.task_always_eager = True  # steps run on threads of this process, their state is kept in memory
    with hephaestus:
        order = OrderFlow.start("a1001", {"items": 3})
        # What the bank's webhook does, in any process; here it may well come before the order waits for it.
        OrderFlow.resume("a1001", "paid", {"payer": "Ada"}, keep_early=True)
        show(order)
        show(OrderFlow.start("a1002", {"items": 0}))


def show(order: InstanceHandle) -> None:
    instance = order.wait(timeout=30)
    print(f"{instance.id}  {instance.status}")
    for entry in order.history():
        print(f"  {entry.kind:<8} {entry.step:<9} {entry.outcome:<10} {entry.event or ''}".rstrip())
    if "ship" in instance.context.steps:
        print(f"  shipped {instance.context.steps['ship']['label']}")


if __name__ == "__main__":
    main()
