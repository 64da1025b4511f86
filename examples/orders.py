"""An order: checked, then charged and reserved side by side, and shipped once it is both paid and reserved.

With workers:       celery -A orders worker
In this process:    python examples/orders.py       (no broker, no Redis, no workers)
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from hephaestus_celery import (
    Context,
    Done,
    Hephaestus,
    Instance,
    InstanceHandle,
    Ok,
    RetryPolicy,
    Unique,
    WaitForEvent,
    Workflow,
    step,
)

app = Celery("orders", broker=os.environ.get("HEPHAESTUS_BROKER", "redis://localhost:6379/0"))
app.conf.broker_connection_retry_on_startup = True
hephaestus = Hephaestus(app)


@step(events=("valid", "invalid"))
def validate(context: Context) -> Ok | str:
    items = context.initial["items"]
    return Ok("valid", {"total": 14 * items}) if items > 0 else "invalid"


@step(retry=RetryPolicy(max_attempts=3, backoff="exponential", base=0.5, max_backoff=10))
def charge(instance: Instance, context: Context) -> dict[str, Any]:
    # The key is the same for every attempt: a bank that is asked twice sends one invoice.
    return {"invoice": instance.idempotency_key(charge), "amount": context.result(validate)["total"]}


@step
def reserve() -> dict[str, str]:
    return {"shelf": "B7"}


@step
def ship(context: Context) -> dict[str, str]:
    payer, shelf = context.result(Payment)["payer"], context.result(reserve)["shelf"]
    return {"label": f"from shelf {shelf} to {payer}"}


Payment = WaitForEvent.named("payment")


class OrderFlow(Workflow):
    unique = Unique("orderid")
    initial_step = validate
    transitions = {
        (validate, "valid"): [charge, reserve],  # side by side
        (validate, "invalid"): Done,
        charge: (Payment, {"event_name": "paid"}),  # days may pass; nothing runs meanwhile
        Payment: ship,  # it waits for both branches
        reserve: ship,
        ship: Done,
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
