"""The other things that the shop does: each can come to a stand for a reason of its own."""

import time
from pathlib import Path

from hephaestus_celery import Done, Error, Ok, RetryPolicy, Step, Unique, Wait, WaitForEvent, Workflow

# What waits for a customer: an advertisement until it is opened, an invoice until it is paid.
Opened = WaitForEvent.named("opened")
Paid = WaitForEvent.named("paid")


class CampaignFlow(Workflow):
    unique = Unique("advertisement")
    initial_step = (Opened, {"event_name": "opened"})
    transitions = {(Opened, "received"): Done}


class InvoiceFlow(Workflow):
    unique = Unique("invoice")
    initial_step = (Paid, {"event_name": "paid"})
    transitions = {(Paid, "received"): Done}


class Wrap(Step):
    """Is done by the workers of another room."""

    events = ("wrapped",)
    queue = "gifts"

    def execute(self, instance, config, context):
        return Ok("wrapped")


class GiftFlow(Workflow):
    unique = Unique("gift")
    initial_step = Wrap
    transitions = {(Wrap, "wrapped"): Done}


class Weigh(Step):
    """Takes as long as somebody stands on the scale."""

    events = ("weighed",)

    def execute(self, instance, config, context):
        while Path("scale-is-taken").exists():
            time.sleep(0.05)
        return Ok("weighed")


class ParcelFlow(Workflow):
    unique = Unique("parcel")
    initial_step = Weigh
    transitions = {(Weigh, "weighed"): Done}


class Transfer(Step):
    events = ("transferred",)
    retry = RetryPolicy(max_attempts=5, backoff="constant", base=1800, max_backoff=1800, jitter=False)

    def execute(self, instance, config, context):
        return Error("the bank is closed")


class RefundFlow(Workflow):
    unique = Unique("refund")
    initial_step = Transfer
    transitions = {(Transfer, "transferred"): Done}


class ReminderFlow(Workflow):
    unique = Unique("reminder")
    initial_step = (Wait, {"duration": 3})
    transitions = {(Wait, "timeout"): Done}


class Inspect(Step):
    events = ("inspected",)

    def execute(self, instance, config, context):
        return Ok("inspected")


class ReturnV1(Workflow):
    name = "desk.ReturnFlow"  # what ReturnFlow was called before it had versions
    version = 1
    initial_step = Inspect
    transitions = {(Inspect, "inspected"): Done}


class ReturnFlow(Workflow):
    unique = Unique("return")
    versions = {1: ReturnV1}
    current = 1
