"""The workflows of the runner suite; a worker of the tested runner has to import this module."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hephaestus_celery import (
    FAILED,
    Again,
    Async,
    Done,
    Ok,
    RetryPolicy,
    Step,
    Unique,
    Wait,
    WaitForEvent,
    Workflow,
    route,
)


class Plain(Step):
    events = ("done",)

    def execute(self, instance, config, context):
        return Ok("done", {"by": self.key})


class A(Plain): ...


class B(Plain): ...


class C(Plain): ...


class D(Plain): ...


class Linear(Workflow):
    name = "conformance_linear"
    unique = Unique("conformance-linear")
    initial_step = A
    transitions = {(A, "done"): B, (B, "done"): Done}


class Diamond(Workflow):
    name = "conformance_diamond"
    unique = Unique("conformance-diamond")
    initial_step = A
    transitions = {(A, "done"): [B, C], (B, "done"): D, (C, "done"): D, (D, "done"): Done}


class Choose(Step):
    events = ("left", "right")

    def execute(self, instance, config, context):
        return Ok("left" if context.initial["value"] == 1 else "right")


class Left(Plain): ...


class Right(Plain): ...


class Merge(Plain): ...


class Choice(Workflow):
    name = "conformance_choice"
    unique = Unique("conformance-choice")
    initial_step = A
    transitions = {
        (A, "done"): [Choose, B],
        (Choose, "left"): Left,
        (Choose, "right"): Right,
        (Left, "done"): Merge,
        (Right, "done"): Merge,
        (B, "done"): Merge,
        (Merge, "done"): Done,
    }


class Routed(Workflow):
    name = "conformance_routed"
    unique = Unique("conformance-routed")
    initial_step = A
    transitions = {(B, "done"): Done, (C, "done"): (D, {"tier": "gold"}), (D, "done"): Done}

    @route(A, "done", targets=[B, C])
    def by_value(self, context):
        return C if context.initial["value"] == 1 else B


class Ask(Step):
    events = ("approved",)

    def execute(self, instance, config, context):
        return Async()


class Approval(Workflow):
    name = "conformance_approval"
    unique = Unique("conformance-approval")
    initial_step = A
    transitions = {(A, "done"): Ask, (Ask, "approved"): B, (B, "done"): Done}


class Payment(Workflow):
    name = "conformance_payment"
    unique = Unique("conformance-payment")
    initial_step = A
    transitions = {(A, "done"): (WaitForEvent, {"event_name": "paid"}), (WaitForEvent, "received"): Done}


class Pausing(Workflow):
    name = "conformance_pausing"
    unique = Unique("conformance-pausing")
    initial_step = (Wait, {"duration": timedelta(milliseconds=100)})
    transitions = {(Wait, "timeout"): Done}


class Raises(Step):
    events = ("done",)
    retry = RetryPolicy(max_attempts=1)

    def execute(self, instance, config, context):
        raise RuntimeError("it broke")


class Refund(Step):
    events = ("done",)

    def execute(self, instance, config, context):
        failure = context.failure(Raises)
        return Ok("done", {} if failure is None else {"why": f"{failure.kind} {failure.type}: {failure.message}"})


class Refunding(Workflow):
    name = "conformance_refunding"
    unique = Unique("conformance-refunding")
    initial_step = Raises
    transitions = {(Raises, "done"): Done, (Raises, FAILED): Refund, (Refund, "done"): Done}


class RefundingByRoute(Workflow):
    name = "conformance_refunding_by_route"
    unique = Unique("conformance-refunding-by-route")
    initial_step = [Raises, A]
    transitions = {(Raises, "done"): Done, (Refund, "done"): Done, (A, "done"): Done}

    @route(Raises, FAILED, targets=[Refund, Done])
    def by_failure(self, context):
        return Refund if context.failure(Raises).type == "RuntimeError" else Done


class Last(Plain): ...


class FirstOf(Workflow):
    name = "conformance_first_of"
    unique = Unique("conformance-first-of")
    initial_step = A
    transitions = {
        (A, "done"): [B, Ask],
        (B, "done"): Last,
        (Ask, "approved"): Last,
        (Last, "done"): Done,
    }
    joins = {Last: 1}


class Gate(Step):
    events = ("opened",)

    def execute(self, instance, config, context):
        return Async()


class Overtaken(Workflow):
    name = "conformance_overtaken"
    unique = Unique("conformance-overtaken")
    initial_step = [Gate, Ask]
    transitions = {(Gate, "opened"): Last, (Ask, "approved"): Last, (Last, "done"): Done}
    joins = {Last: 1}


class Missed(Workflow):
    name = "conformance_missed"
    unique = Unique("conformance-missed")
    initial_step = [B, Choose]
    transitions = {
        (B, "done"): Merge,
        (Choose, "left"): [Left, Right],
        (Choose, "right"): Merge,
        (Left, "done"): Merge,
        (Right, "done"): Merge,
        (Merge, "done"): Done,
    }
    joins = {Merge: "all"}


class AllOrNothing(Workflow):
    name = "conformance_all_or_nothing"
    unique = Unique("conformance-all-or-nothing")
    initial_step = [B, Choose]
    transitions = {
        (B, "done"): Last,
        (Choose, "left"): Last,
        (Choose, "right"): Right,
        (Last, "done"): Done,
        (Right, "done"): Merge,
        (Merge, "done"): Done,
    }
    joins = {Last: "all"}


class Failing(Workflow):
    name = "conformance_failing"
    unique = Unique("conformance-failing")
    initial_step = Raises
    transitions = {(Raises, "done"): Done}


class Flaky(Step):
    events = ("done",)
    retry = RetryPolicy(max_attempts=2, base=0.05, jitter=False)

    def execute(self, instance, config, context):
        if instance.step_states[self.key].attempt == 1:
            raise RuntimeError("not yet")
        return Ok("done")


class Retried(Workflow):
    name = "conformance_retried"
    unique = Unique("conformance-retried")
    initial_step = Flaky
    transitions = {(Flaky, "done"): Done}


class Poll(Step):
    events = ("ready",)
    retry = RetryPolicy(max_attempts=2, base=0.01)

    def execute(self, instance, config, context):
        if context.round == 2 and instance.step_states[self.key].attempt == 1:
            raise ValueError("not yet")
        if context.round == 3:
            return Ok("ready", {"seen": context.state["seen"]})
        return Again(0.05 if context.round == 1 else 0, {"seen": [*context.state.get("seen", []), context.round]})


class Polling(Workflow):
    name = "conformance_polling"
    unique = Unique("conformance-polling")
    initial_step = Poll
    transitions = {(Poll, "ready"): Done}


class Straight(Workflow):
    name = "conformance_straight"
    unique = Unique("conformance-straight")
    initial_step = Done


class Later(Step):
    events = ("done",)

    async def execute(self, instance, config, context):
        await asyncio.sleep(0)
        return Ok("done", {"price": Decimal("9.90"), "when": datetime(2026, 1, 2, 3, 4, tzinfo=UTC)})


class Asynchronous(Workflow):
    name = "conformance_asynchronous"
    unique = Unique("conformance-asynchronous")
    initial_step = Later
    transitions = {(Later, "done"): Done}


class Weigh(Step):
    def execute(self, instance, config, context):
        return {"kilos": 3}


class Announce(Step):
    async def execute(self, instance, config, context):
        await asyncio.sleep(0)


class Sort(Step):
    events = ("heavy", "light")

    def execute(self, instance, config, context):
        return "heavy" if context.result(Weigh)["kilos"] > 2 else "light"


class Unsure(Step):
    events = ("heavy", "light")

    def execute(self, instance, config, context):
        return {"kilos": 3}


class Brief(Workflow):
    name = "conformance_brief"
    unique = Unique("conformance-brief")
    initial_step = Announce
    transitions = {
        Announce: Weigh,
        Weigh: Sort,
        (Sort, "heavy"): Unsure,
        (Sort, "light"): Done,
        (Unsure, "heavy"): Done,
        (Unsure, "light"): Done,
    }


class Summed(Workflow):
    """Two steps side by side; the run gives what both have given, or fails where it is told to."""

    name = "conformance_summed"
    unique = Unique("conformance-summed")
    initial_step = [A, B]
    transitions = {(A, "done"): Done, (B, "done"): Done}

    @staticmethod
    def result(context):
        if context.initial["value"] < 0:
            raise ValueError("nothing to sum")
        return {"by": sorted(context.result(step)["by"] for step in (A, B)), "price": Decimal("9.90")}


class SummedAtOnce(Workflow):
    """It has nothing but its end."""

    name = "conformance_summed_at_once"
    unique = Unique("conformance-summed-at-once")
    initial_step = Done

    @classmethod
    def result(cls, context):
        return {"twice": 2 * context.initial["value"], "of": cls.name}


class SummedLater(Workflow):
    """Its end is reached by a timer."""

    name = "conformance_summed_later"
    unique = Unique("conformance-summed-later")
    initial_step = (Wait, {"duration": timedelta(milliseconds=50)})
    transitions = {(Wait, "timeout"): Done}

    @staticmethod
    def result(context):
        return {"steps": sorted(context.steps)}
