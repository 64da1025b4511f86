from pathlib import Path

from celery import Celery
from hephaestus_celery import Done, Hephaestus, Ok, RetryPolicy, Step, Unique, Workflow

app = Celery("shop", broker="redis://localhost:6379/0", include=["desk"])
app.conf.hephaestus_lease = 6  # seconds; the default, 30, would make the hour longer
app.conf.hephaestus_dispatch_timeout = 6
hephaestus = Hephaestus(app)


def note(what, instance):
    """What cannot be taken back: each line is money taken or a parcel on its way."""
    with Path("ledger.txt").open("a") as ledger:
        ledger.write(f"{what} {instance.id}\n")


class Charge(Step):
    events = ("charged",)

    def execute(self, instance, config, context):
        note("charged", instance)
        return Ok("charged", {"euros": 20 * context.initial["items"]})


class Pack(Step):
    events = ("packed",)

    def execute(self, instance, config, context):
        note("packed", instance)
        return Ok("packed")


class Label(Step):
    events = ("printed",)

    def execute(self, instance, config, context):
        address = context.initial["address"]
        return Ok("printed", {"label": f"{address['town']} {address['zip']}"})


class Ship(Step):
    events = ("shipped",)

    def execute(self, instance, config, context):
        note("shipped", instance)
        return Ok("shipped", {"to": context.steps["label"]["label"]})


class OrderFlow(Workflow):
    unique = Unique("order")
    default_retry = RetryPolicy(max_attempts=2, backoff="constant", base=0.5)
    initial_step = Charge
    transitions = {
        (Charge, "charged"): [Pack, Label],  # side by side
        (Pack, "packed"): Ship,
        (Label, "printed"): Ship,  # Ship waits for both
        (Ship, "shipped"): Done,
    }
