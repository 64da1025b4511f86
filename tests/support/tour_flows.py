"""A workflow with all at once: rounds, a deadline, compensations and a result; and some that take long to undo."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import recorder
from flows import B, BookHotel, CancelHotel, Gate, Poll, Recorded

from hephaestus_celery import Again, Async, Done, Ok, RetryPolicy, Unique, WaitForEvent, Workflow


class Haggle(Recorded):
    """Asks three times for a price, with a state that it keeps between."""

    def answer(self, instance, config, context):
        asked = [*context.state.get("asked", []), context.round]
        recorder.note("asked", run_id=instance.run_id, step=self.key, round=context.round)
        if len(asked) < 3:
            return Again(0.1, {"asked": asked})
        return Ok("done", {"asked": asked})


class Withdraw(Recorded):
    """Undoes that, in two rounds of two attempts, on the loop of its process."""

    retry = RetryPolicy(max_attempts=2, backoff="constant", base=0.1, jitter=False)

    async def execute(self, instance, config, context):
        await asyncio.sleep(0.01)
        recorder.note("asked", run_id=instance.run_id, step=self.key, round=context.round)
        if instance.step_states[self.key].attempt == 1:
            raise ConnectionError("the line is busy")
        if context.round == 1:
            return Again(0.1, {"asked": 1})
        return Ok("done", {"asked": context.state["asked"] + 1})


class PayTour(Recorded):
    """Fails or not as it is told, or goes on until nobody wants its result."""

    retry = RetryPolicy(max_attempts=1)

    def answer(self, instance, config, context):
        way = context.initial["way"]
        if way == "fail":
            raise ValueError("no money")
        end = time.monotonic() + 60
        while way == "wait" and not context.cancelled() and time.monotonic() < end:
            time.sleep(0.05)
        return Ok("done")


class Tour(Workflow):
    name = "tour"
    unique = Unique("tour")
    initial_step = BookHotel
    transitions = {(BookHotel, "done"): Haggle, (Haggle, "done"): PayTour, (PayTour, "done"): Done}
    compensations = {BookHotel: CancelHotel, Haggle: Withdraw}
    deadline = timedelta(minutes=2)

    @staticmethod
    def result(context):
        """What was asked for."""
        return {"asked": len(context.result(Haggle)["asked"])}


class ShortTour(Tour):
    """The same with a deadline that comes while it is paid for."""

    name = "short_tour"
    deadline = timedelta(seconds=10)


class Unbook(Recorded):
    """Undoes the booking: when a file is there, or when it is told that it is done."""

    def answer(self, instance, config, context):
        if context.initial["undo"] == "wait":
            return Async()
        if context.initial["undo"] == "hold":
            recorder.wait_for_gate(context.initial["gate"])
        return Ok("done")


class UnbookElsewhere(Unbook):
    """In a queue of its own."""

    queue = "tours-elsewhere"


class Booking(Workflow):
    """Fails at once, and takes longer to undo than it has time."""

    name = "booking"
    unique = Unique("booking")
    initial_step = BookHotel
    transitions = {(BookHotel, "done"): PayTour, (PayTour, "done"): Done}
    compensations = {BookHotel: Unbook}
    deadline = timedelta(seconds=8)


class BookingElsewhere(Booking):
    name = "booking_elsewhere"
    compensations = {BookHotel: UnbookElsewhere}


class Reservation(Workflow):
    """Waits for its payment until its deadline."""

    name = "reservation"
    unique = Unique("reservation")
    initial_step = BookHotel
    transitions = {(BookHotel, "done"): (WaitForEvent, {"event_name": "paid"}), (WaitForEvent, "received"): Done}
    compensations = {BookHotel: CancelHotel}
    deadline = timedelta(seconds=90)


class PollApart(Poll):
    """In a queue of its own."""

    queue = "tours-apart"


class Apart(Workflow):
    """Stays in a queue from which nothing is consumed."""

    name = "apart"
    unique = Unique("apart")
    initial_step = PollApart
    transitions = {(PollApart, "ready"): Done}


class Rolled(Workflow):
    """One branch goes in rounds, while the other is executed."""

    name = "rolled"
    unique = Unique("rolled")
    initial_step = [PollApart, Gate]
    transitions = {(PollApart, "ready"): B, (Gate, "done"): B, (B, "done"): Done}
