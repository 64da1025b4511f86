"""Workflows of all shapes for tests with real workers; imported by the workers and by the tests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import threading
import time
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import recorder
from celery import current_app

from hephaestus_celery import (
    FAILED,
    Again,
    Async,
    Done,
    Error,
    NonRetryableError,
    Ok,
    RetryPolicy,
    Step,
    Unique,
    Wait,
    WaitForEvent,
    Workflow,
    route,
)


class Recorded(Step):
    """Notes each of its executions where the tests can read them."""

    events = ("done",)

    def execute(self, instance, config, context):
        recorder.note("executed", run_id=instance.run_id, step=self.key, value=context.initial.get("value"))
        return self.answer(instance, config, context)

    def answer(self, instance, config, context):
        return Ok("done", {"by": self.key})


class A(Recorded): ...


class B(Recorded): ...


class C(Recorded): ...


class D(Recorded): ...


class Linear(Workflow):
    name = "linear"
    unique = Unique("linear")
    initial_step = A
    transitions = {(A, "done"): B, (B, "done"): Done}


class Diamond(Workflow):
    name = "diamond"
    unique = Unique("diamond")
    initial_step = A
    transitions = {(A, "done"): [B, C], (B, "done"): D, (C, "done"): D, (D, "done"): Done}


class Unlimited(Recorded):
    """For which somebody has set the longest limits that there are."""

    time_limit = timedelta.max
    retry = RetryPolicy(base=0.05, max_backoff=timedelta.max, jitter=False)

    def answer(self, instance, config, context):
        if instance.step_states[self.key].attempt == 1:
            raise RuntimeError("not yet")
        return Ok("done")


class Unending(Recorded):
    """Waits for an event, and for its timeout as long as can be said."""

    events = ("done", "timeout")

    def answer(self, instance, config, context):
        return Async(timeout=timedelta.max)


class ForEver(Workflow):
    name = "for_ever"
    unique = Unique("forever")
    initial_step = Unlimited
    transitions = {
        (Unlimited, "done"): [Unending, (Wait, {"duration": timedelta.max})],
        (Unending, "done"): Done,
        (Unending, "timeout"): Done,
        (Wait, "timeout"): Done,
    }


BRANCHES = [type(f"Branch{number}", (Recorded,), {}) for number in range(8)]


class Wide(Workflow):
    name = "wide"
    unique = Unique("wide")
    initial_step = A
    transitions = {
        (A, "done"): BRANCHES,
        **{(branch, "done"): D for branch in BRANCHES},
        (D, "done"): Done,
    }


THRONG = [Recorded.named(f"one_{number}") for number in range(700)]


class Vast(Workflow):
    """So many branches that they are started in slices."""

    name = "vast"
    unique = Unique("vast")
    initial_step = A
    transitions = {
        (A, "done"): THRONG,
        **{(one, "done"): D for one in THRONG},
        (D, "done"): Done,
    }


class Crowd(Workflow):
    """Begins with so many."""

    name = "crowd"
    unique = Unique("crowd")
    initial_step = THRONG
    transitions = {**{(one, "done"): D for one in THRONG}, (D, "done"): Done}


class Load(Recorded):
    def answer(self, instance, config, context):
        return Ok("done", {"name": self.key, "text": "x" * context.initial["size"]})


class Gather(Recorded):
    """Looks at one result, hands the initial context to a task, and then looks at all."""

    def answer(self, instance, config, context):
        one = context.result(LOADS[7])["text"]
        current_app.send_task("counted", [context.initial])  # a plain task of the application's
        context.initial.clear()
        return Ok("done", {"one": len(one), "all": sum(len(found.get("text", "")) for found in context.steps.values())})


LOADS = [Load.named(f"load_{number}") for number in range(30)]


class Heavy(Workflow):
    name = "heavy"
    unique = Unique("heavy")
    initial_step = A
    transitions = {
        (A, "done"): LOADS,
        **{(load, "done"): Gather for load in LOADS},
        (Gather, "done"): Done,
    }


class Choose(Recorded):
    events = ("left", "right")

    def answer(self, instance, config, context):
        return Ok("left" if context.initial["value"] % 2 else "right")


class Left(Recorded): ...


class Right(Recorded): ...


class Merge(Recorded): ...


class Choice(Workflow):
    """An exclusive choice beside a parallel branch; what is not chosen is skipped, and the merge waits for neither."""

    name = "choice"
    unique = Unique("choice")
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
    name = "routed"
    unique = Unique("routed")
    initial_step = A
    transitions = {(B, "done"): Done, (C, "done"): (D, {"tier": "gold"}), (D, "done"): Done}

    @route(A, "done", targets=[B, C])
    def by_value(self, context):
        return C if context.initial["value"] % 2 else B


class Ask(Recorded):
    events = ("approved", "declined")

    def answer(self, instance, config, context):
        return Async()


class Approval(Workflow):
    name = "approval"
    unique = Unique("approval")
    initial_step = A
    transitions = {(A, "done"): Ask, (Ask, "approved"): B, (Ask, "declined"): Done, (B, "done"): Done}


LONG = Ask.named("注文é🛒{x}" * 28 + "%s:~")


class Roots(Workflow):
    """Three steps come first, one of them with a config, one with a key as long as it may be."""

    name = "roots"
    unique = Unique("free-id_0")
    initial_step = [A, (B, {"n": 1}), LONG]
    transitions = {(A, "done"): D, (B, "done"): D, (LONG, "approved"): D, (LONG, "declined"): Done, (D, "done"): Done}


class Payment(Workflow):
    name = "payment"
    unique = Unique("payment")
    initial_step = (WaitForEvent, {"event_name": "paid"})
    transitions = {(WaitForEvent, "received"): A, (A, "done"): Done}


FIRST, SECOND = WaitForEvent.named("first"), WaitForEvent.named("second")


class TwoWaits(Workflow):
    """Two branches wait for an event of one name, and a third works on."""

    name = "two_waits"
    unique = Unique("twowaits")
    initial_step = A
    transitions = {
        (A, "done"): [(FIRST, {"event_name": "go"}), (SECOND, {"event_name": "go"}), B],
        (FIRST, "received"): D,
        (SECOND, "received"): D,
        (B, "done"): D,
        (D, "done"): Done,
    }


INSTALMENTS = [WaitForEvent.named(f"instalment_{number}") for number in (1, 2, 3)]


class Instalments(Workflow):
    """Three steps wait for an event of one name, one after the other."""

    name = "instalments"
    unique = Unique("instalments")
    initial_step = (INSTALMENTS[0], {"event_name": "paid"})
    transitions = {
        (INSTALMENTS[0], "received"): (INSTALMENTS[1], {"event_name": "paid"}),
        (INSTALMENTS[1], "received"): (INSTALMENTS[2], {"event_name": "paid"}),
        (INSTALMENTS[2], "received"): A,
        (A, "done"): Done,
    }


class Straight(Workflow):
    name = "straight"
    unique = Unique("straight")
    initial_step = Done


class Raises(Recorded):
    def answer(self, instance, config, context):
        raise RuntimeError("it broke")


class Fails(Recorded):
    def answer(self, instance, config, context):
        return Error("no stock", retry=False)


class Exits(Recorded):
    def answer(self, instance, config, context):
        raise SystemExit(3)


class Interrupts(Recorded):
    def answer(self, instance, config, context):
        raise KeyboardInterrupt


class Refuses(Recorded):
    def answer(self, instance, config, context):
        raise NonRetryableError("never")


class Mumbles(Recorded):
    def answer(self, instance, config, context):
        return ["what", "ever"]


class Undeclared(Recorded):
    def answer(self, instance, config, context):
        return Ok("surprise")


class Uncarried(Recorded):
    def answer(self, instance, config, context):
        return Ok("done", {"items": [1, {"price": object()}]})


def failing(step):
    """A workflow that fails in its only step."""
    body = {
        "name": f"failing_{step.key}",
        "unique": Unique("failing"),
        "default_retry": RetryPolicy(max_attempts=1),
        "initial_step": step,
        "transitions": {(step, "done"): Done},
        "__module__": __name__,
        "__qualname__": f"Failing{step.__name__}",
    }
    return type(f"Failing{step.__name__}", (Workflow,), body)


FAILING = {step: failing(step) for step in (Raises, Fails, Exits, Interrupts, Refuses, Mumbles, Undeclared, Uncarried)}


class Later(Recorded):
    async def execute(self, instance, config, context):
        recorder.note("executed", run_id=instance.run_id, step=self.key, value=None)
        return Ok("done", {"when": datetime(2026, 1, 2, tzinfo=UTC), "price": Decimal("9.90")})


class Asynchronous(Workflow):
    name = "asynchronous"
    unique = Unique("asynchronous")
    initial_step = Later
    transitions = {(Later, "done"): Done}


class Charge(Recorded):
    """Fails as it is told: ``way`` is ``raise``, ``die`` (with its process), ``gate`` (waits for a file to be there)."""

    retry = RetryPolicy(max_attempts=2, backoff="constant", base=0.05, jitter=False)

    def answer(self, instance, config, context):
        match context.initial["way"]:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "gate":
                recorder.wait_for_gate(context.initial["gate"])
            case _:
                raise ValueError("declined")
        return Ok("done")


class BookHotel(Recorded):
    pass


class BookFlight(Recorded):
    pass


class PayTrip(Recorded):
    """Fails as it is told: at once, or when a file is there."""

    retry = RetryPolicy(max_attempts=1)

    def answer(self, instance, config, context):
        if "gate" in context.initial:
            recorder.wait_for_gate(context.initial["gate"])
        raise ValueError("no money")


class CancelFlight(Recorded):
    """Ends its process the first time, where it is given the name of a file by which it knows that."""

    retry = RetryPolicy(max_attempts=3, backoff="constant", base=0.05, jitter=False)

    def answer(self, instance, config, context):
        marker = Path(context.initial.get("marker", os.devnull))
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Ok("done", {"refunded": sorted(context.steps)})


class CancelHotel(Recorded):
    pass


class Trips(Workflow):
    name = "trips"
    unique = Unique("trips")
    initial_step = BookHotel
    transitions = {(BookHotel, "done"): BookFlight, (BookFlight, "done"): PayTrip, (PayTrip, "done"): Done}
    compensations = {BookHotel: CancelHotel, BookFlight: CancelFlight}


class LookForRoom(Recorded):
    def answer(self, instance, config, context):
        return Ok("done", {"rounds": context.round}) if context.round == 3 else Again(0.01)


class GiveRoomUp(Recorded):
    def answer(self, instance, config, context):
        return Ok("done", {"rounds": context.round}) if context.round == 2 else Again(0.01)


class Stays(Workflow):
    name = "stays"
    unique = Unique("stays")
    initial_step = LookForRoom
    transitions = {(LookForRoom, "done"): PayTrip, (PayTrip, "done"): Done}
    compensations = {LookForRoom: GiveRoomUp}


class ChargeOnce(Charge):
    retry = RetryPolicy(max_attempts=1)


class Refund(Recorded):
    def answer(self, instance, config, context):
        failure = context.failure("charge") or context.failure("charge_once")
        return Ok("done", {"kind": failure.kind, "message": failure.message})


class Refunds(Workflow):
    name = "refunds"
    unique = Unique("refunds")
    initial_step = Charge
    transitions = {(Charge, "done"): B, (Charge, FAILED): Refund, (B, "done"): Done, (Refund, "done"): Done}


class RefundsOnce(Workflow):
    name = "refunds_once"
    unique = Unique("refunds-once")
    initial_step = ChargeOnce
    transitions = {(ChargeOnce, "done"): B, (ChargeOnce, FAILED): Refund, (B, "done"): Done, (Refund, "done"): Done}


class FailsAfterRefund(Recorded):
    retry = RetryPolicy(max_attempts=1)

    def answer(self, instance, config, context):
        raise ValueError("and this too")


class RefundsAndFails(Workflow):
    name = "refunds_and_fails"
    unique = Unique("refunds-and-fails")
    initial_step = Charge
    transitions = {
        (Charge, "done"): Done,
        (Charge, FAILED): Refund,
        (Refund, "done"): FailsAfterRefund,
        (FailsAfterRefund, "done"): Done,
    }


class RefundsByRoute(Workflow):
    name = "refunds_by_route"
    unique = Unique("refunds-by-route")
    initial_step = Charge
    transitions = {(Charge, "done"): B, (B, "done"): Done, (Refund, "done"): Done}

    @route(Charge, FAILED, targets=[Refund, B])
    def by_kind(self, context):
        recorder.note("routed", pid=os.getpid())
        return Refund


class Loser(Recorded):
    """Goes on until nobody wants its result, and notes that."""

    def answer(self, instance, config, context):
        end = time.monotonic() + 60
        while not context.cancelled() and time.monotonic() < end:
            time.sleep(0.05)
        recorder.note("unwanted", run_id=instance.run_id)
        return Ok("done")


class Approved(Recorded):
    events = ("approved",)

    def answer(self, instance, config, context):
        return Async()


class Quick(Recorded):
    """Ends as soon as the loser of its run is executed, and the gate is open, if there is one."""

    def answer(self, instance, config, context):
        end = time.monotonic() + 60
        while not self.losing(instance.run_id) and time.monotonic() < end:
            time.sleep(0.05)
        if "gate" in context.initial:
            recorder.wait_for_gate(context.initial["gate"])
        return Ok("done")

    def losing(self, run_id):
        notes = recorder.read(Path(os.environ[recorder.FOLDER]), "executed")
        return any(note["step"] == "loser" and note["run_id"] == run_id for note in notes)


class Race(Workflow):
    """The first of three branches: one waits, one goes on for ever, and one is quick, once that one has begun."""

    name = "race"
    unique = Unique("race")
    initial_step = A
    transitions = {
        (A, "done"): [Loser, Approved, Quick],
        (Loser, "done"): C,
        (Approved, "approved"): C,
        (Quick, "done"): C,
        (C, "done"): D,
        (D, "done"): Done,
    }
    joins = {C: 1}


class Duel(Workflow):
    """One that goes on for ever, and one that waits."""

    name = "duel"
    unique = Unique("duel")
    initial_step = [Loser, Approved]
    transitions = {(Loser, "done"): C, (Approved, "approved"): C, (C, "done"): Done}
    joins = {C: 1}


class Quorum(Workflow):
    """Two of three that charge; whoever fails for good leads to a refund."""

    name = "quorum"
    unique = Unique("quorum")
    initial_step = [Charge, B, C]
    transitions = {
        (Charge, "done"): D,
        (Charge, FAILED): Refund,
        (B, "done"): D,
        (C, "done"): D,
        (D, "done"): Done,
        (Refund, "done"): Done,
    }
    joins = {D: 2}


class Gate(Recorded):
    """Holds its worker until the test opens the gate (a file), or for a minute."""

    def answer(self, instance, config, context):
        recorder.wait_for_gate(context.initial["gate"])
        return Ok("done", {"process": os.getpid(), "thread": threading.get_ident()})


class Gated(Workflow):
    name = "gated"
    unique = Unique("gated")
    initial_step = Gate
    transitions = {(Gate, "done"): B, (B, "done"): Done}


class Poll(Recorded):
    """Answers ``Again`` for so many rounds, and holds its worker in one of them until the gate is open, in its first attempt."""

    events = ("ready",)
    retry = RetryPolicy(max_attempts=3, base=0.05)

    def answer(self, instance, config, context):
        attempt = instance.step_states[self.key].attempt
        key = instance.idempotency_key(self)
        recorder.note("round", round=context.round, attempt=attempt, state=dict(context.state), key=key)
        if context.round == context.initial.get("gated") and attempt == 1:
            recorder.wait_for_gate(context.initial["gate"])
        if context.round > context.initial["rounds"]:
            return Ok("ready", {"rounds": context.round, **context.state})
        return Again(context.initial.get("after", 0), {"seen": [*context.state.get("seen", []), context.round]})


class Polling(Workflow):
    name = "polling"
    unique = Unique("polling")
    initial_step = A
    transitions = {(A, "done"): Poll, (Poll, "ready"): B, (B, "done"): Done}


POLL_REFUND = Poll.named("poll_refund")


class PolledTrips(Workflow):
    """A trip whose flight is paid back some rounds later."""

    name = "polled_trips"
    unique = Unique("polledtrips")
    initial_step = BookHotel
    transitions = {
        (BookHotel, "done"): BookFlight,
        (BookFlight, "done"): FailsAfterRefund,
        (FailsAfterRefund, "done"): Done,
    }
    compensations = {BookHotel: CancelHotel, BookFlight: POLL_REFUND}


HELD = Gate.named("held")


class GatedRaises(Recorded):
    def answer(self, instance, config, context):
        recorder.wait_for_gate(context.initial["fail_gate"])
        raise RuntimeError("it broke")


class FailsBeside(Workflow):
    """One branch fails while the other is being executed."""

    name = "fails_beside"
    unique = Unique("failsbeside")
    default_retry = RetryPolicy(max_attempts=1)
    initial_step = A
    transitions = {
        (A, "done"): [HELD, GatedRaises],
        (HELD, "done"): D,
        (GatedRaises, "done"): D,
        (D, "done"): Done,
    }


LINKS = [
    type(f"Link{number}", (Step,), {"events": ("done",), "execute": lambda *_: Ok("done")}) for number in range(10)
]


class Chain(Workflow):
    """Ten steps that do nothing: what the engine costs, and nothing else."""

    name = "chain"
    unique = Unique("chain")
    initial_step = LINKS[0]
    transitions = {
        **{(link, "done"): following for link, following in itertools.pairwise(LINKS)},
        (LINKS[-1], "done"): Done,
    }


class Poison(Recorded):
    """Kills its own process, every time."""

    retry = RetryPolicy(max_attempts=3, base=0.1)

    def answer(self, instance, config, context):
        os.kill(os.getpid(), signal.SIGKILL)


class Poisoned(Workflow):
    name = "poisoned"
    unique = Unique("poisoned")
    initial_step = Poison
    transitions = {(Poison, "done"): Done}


class Vow(Recorded):
    """Waits for an event, or half a second where it is not to be asked."""

    events = ("given", "timeout")
    retry = RetryPolicy(max_attempts=2, base=0.1)

    def answer(self, instance, config, context):
        return Async(timeout=context.initial.get("timeout"))


class OneVow(Vow):
    key = "vow"
    retry = RetryPolicy(max_attempts=1)


class ShortVow(OneVow):
    key = "vow"
    time_limit = 1


def doomed(context):
    """A route that ends its process, or never ends, as often as its run says."""
    recorder.note("routed", result=context.result(Vow))
    if len(recorder.read(Path(os.environ[recorder.FOLDER]), "routed")) <= context.initial["deaths"]:
        match context.initial["way"]:
            case "exit":
                os._exit(1)
            case "kill":  # as the system does where memory is short
                os.kill(os.getpid(), signal.SIGKILL)
            case _:
                if threading.current_thread() is threading.main_thread():
                    for number in (signal.SIGUSR1, signal.SIGTERM):
                        signal.signal(number, signal.SIG_IGN)  # a process that no signal reaches
                recorder.wait_for_gate(context.initial["gate"])
    return B


def _sworn(step):
    return type(
        "Sworn",
        (Workflow,),
        {
            "name": f"sworn_{step.__name__.lower()}",
            "unique": Unique("sworn"),
            "initial_step": step,
            "transitions": {(B, "done"): Done},
            "given": route(step, "given", targets=[B])(lambda _, context: doomed(context)),
            "late": route(step, "timeout", targets=[B])(lambda _, context: doomed(context)),
        },
    )


SWORN, SWORN_ONCE, SWORN_SHORTLY = _sworn(Vow), _sworn(OneVow), _sworn(ShortVow)


class Naps(Workflow):
    name = "naps"
    unique = Unique("naps")
    initial_step = (Wait, {"duration": 1, "unit": "second"})
    transitions = {(Wait, "timeout"): A, (A, "done"): Done}


class LongNaps(Workflow):
    name = "long_naps"
    unique = Unique("longnaps")
    initial_step = (Wait, {"duration": 5, "unit": "second"})
    transitions = {(Wait, "timeout"): A, (A, "done"): Done}


class Overrun(Gate):
    time_limit = 0.5
    retry = RetryPolicy(max_attempts=1)


class Deaf(Overrun):
    """Goes on and gives its event, whatever signal comes meanwhile."""

    def answer(self, instance, config, context):
        over = time.monotonic() + self.time_limit + 0.05
        with contextlib.suppress(Exception):
            super().answer(instance, config, context)
        while time.monotonic() < over:
            pass
        return Ok("done")


class Overheard(Workflow):
    name = "overheard"
    unique = Unique("overheard")
    initial_step = Deaf
    transitions = {(Deaf, "done"): Done}


class Overruns(Workflow):
    name = "overruns"
    unique = Unique("overruns")
    initial_step = Overrun
    transitions = {(Overrun, "done"): Done}


class FlakyStep(Recorded):
    retry = RetryPolicy(max_attempts=3, base=0.1, jitter=False)

    def answer(self, instance, config, context):
        if instance.step_states[self.key].attempt < 3:
            raise RuntimeError("not yet")
        return Ok("done")


class TriedLater(Recorded):
    """Fails, and is tried again half an hour later."""

    key = "half_an_hour"
    retry = RetryPolicy(max_attempts=4, backoff="constant", base=1800, max_backoff=1800, jitter=False)

    def answer(self, instance, config, context):
        raise ConnectionError("the bank is away")


class HalfAnHour(Workflow):
    name = "half_an_hour"
    unique = Unique("halfanhour")
    initial_step = TriedLater
    transitions = {(TriedLater, "done"): Done}


class Flaky(Workflow):
    name = "flaky"
    unique = Unique("flaky")
    initial_step = FlakyStep
    transitions = {(FlakyStep, "done"): Done}


class Express(Recorded):
    """A step with a queue and a priority of its own; note that 5 means another thing to each broker."""

    queue = "express"
    priority = 5


class Pick(Express):
    retry = RetryPolicy(max_attempts=2, base=0.05)

    def answer(self, instance, config, context):
        if instance.step_states[self.key].attempt == 1:
            raise RuntimeError("not yet")
        return Ok("done")


class Rest(Express):
    events = ("timeout",)

    def answer(self, instance, config, context):
        return Async(timeout=0.1)


class Confirm(Express):
    events = ("confirmed",)

    def answer(self, instance, config, context):
        return Async()


class Drop(Express): ...


class Errand(Workflow):
    """Each way in which a message comes about: a start, a retry, a transition, a timer, a resume."""

    name = "errand"
    unique = Unique("errand")
    initial_step = Pick
    transitions = {
        (Pick, "done"): Rest,
        (Rest, "timeout"): Confirm,
        (Confirm, "confirmed"): Drop,
        (Drop, "done"): Done,
    }


class Handover(Workflow):
    """From the default queue to another one and back."""

    name = "handover"
    unique = Unique("handover")
    initial_step = A
    transitions = {(A, "done"): Drop, (Drop, "done"): B, (B, "done"): Done}


class Scatter(Workflow):
    """Branches in two queues."""

    name = "scatter"
    unique = Unique("scatter")
    initial_step = A
    transitions = {(A, "done"): [Drop, B], (B, "done"): C, (C, "done"): D, (Drop, "done"): D, (D, "done"): Done}


class PriorityOne(Recorded):
    priority = 1


class PriorityNine(Recorded):
    priority = 9


class One(Workflow):
    name = "one"
    unique = Unique("one")
    initial_step = PriorityOne
    transitions = {(PriorityOne, "done"): Done}


class Nine(Workflow):
    name = "nine"
    unique = Unique("nine")
    initial_step = PriorityNine
    transitions = {(PriorityNine, "done"): Done}


class Evolving(Workflow):
    """Of which each process knows the version that its environment names."""

    name = "evolving"
    unique = Unique("evolving")
    version = int(os.environ.get("HEPHAESTUS_TEST_VERSION", "1"))
    initial_step = A
    transitions = {(A, "done"): B, (B, "done"): Done}


if Evolving.version > 1:

    class Novel(Workflow):
        """Which processes of version 1 do not know at all."""

        name = "novel"
        unique = Unique("novel")
        initial_step = A
        transitions = {(A, "done"): Done}


class WithBug(Recorded):
    """Which fails where the code has a bug; ``HEPHAESTUS_TEST_BUG`` says so."""

    key = "mended"
    retry = RetryPolicy(max_attempts=5, base=0.05)  # an attempt may be killed

    def answer(self, instance, config, context):
        recorder.note("key", key=instance.idempotency_key(type(self)))
        if os.environ.get("HEPHAESTUS_TEST_BUG"):
            raise NonRetryableError("a bug")
        return Ok("done")


class Mended(Workflow):
    """Two branches, and behind them a step that has a bug at first."""

    name = "mended"
    unique = Unique("mended")
    initial_step = A
    transitions = {
        (A, "done"): [B, C],
        (B, "done"): WithBug,
        (C, "done"): WithBug,
        (WithBug, "done"): D,
        (D, "done"): Done,
    }


class TrackV1(Workflow):
    name = "track_v1"
    version = 1
    initial_step = A
    transitions = {(A, "done"): Done}


class TrackV2(Workflow):
    name = "track_v2"
    version = 2
    initial_step = A
    transitions = {(A, "done"): B, (B, "done"): Done}


class Track(Workflow):
    name = "track"
    unique = Unique("track")
    versions = {1: TrackV1, 2: TrackV2}
    current = 2


TASK: ContextVar[str] = ContextVar("task", default="none")
"""The task that is being executed, as a receiver of the application's has it."""
KEPT: dict[str, asyncio.Future[str]] = {}
MEETINGS: dict[str, asyncio.Barrier] = {}


class Meet(Recorded):
    """Waits for another on the loop that it runs on, and keeps something for a later step that is bound to that loop."""

    async def execute(self, instance, config, context):
        recorder.note("executed", run_id=instance.run_id, step=self.key, value=None)
        if context.initial["meet"]:
            await asyncio.wait_for(MEETINGS.setdefault(instance.run_id, asyncio.Barrier(2)).wait(), 20)
        loop = asyncio.get_running_loop()
        KEPT[instance.run_id] = loop.create_future()
        loop.call_later(0.05, KEPT[instance.run_id].set_result, "kept")
        native = await asyncio.to_thread(threading.get_ident)
        return Ok("done", {"task": TASK.get(), "elsewhere": native != threading.get_ident()})


LEFT_MEET, RIGHT_MEET = Meet.named("left_meet"), Meet.named("right_meet")


class MeetAgain(Recorded):
    async def execute(self, instance, config, context):
        return Ok("done", {"kept": await KEPT.pop(instance.run_id)})


class Nested(FlakyStep):
    """Fails twice; then it runs a loop of its own, as any code may."""

    async def inner(self):
        await asyncio.sleep(0)
        return "nested"

    def answer(self, instance, config, context):
        super().answer(instance, config, context)
        return Ok("done", {"inner": asyncio.run(self.inner())}) if instance.step_states[self.key].attempt == 3 else None


class Voyage(Workflow):
    """What a pool must be able to do: async steps at once and one after the other, sync ones, retries, waits."""

    name = "voyage"
    unique = Unique("voyage")
    initial_step = A
    transitions = {
        (A, "done"): [LEFT_MEET, RIGHT_MEET],
        (LEFT_MEET, "done"): MeetAgain,
        (RIGHT_MEET, "done"): MeetAgain,
        (MeetAgain, "done"): Nested,
        (Nested, "done"): Ask,
        (Ask, "approved"): (Wait, {"duration": timedelta(milliseconds=50)}),
        (Ask, "declined"): Done,
        (Wait, "timeout"): B,
        (B, "done"): Done,
    }


class Dawdle(Recorded):
    """Takes a minute, and notes when it is asked to stop."""

    time_limit = 2
    retry = RetryPolicy(max_attempts=1)

    async def execute(self, instance, config, context):
        try:
            await asyncio.sleep(60)
        finally:
            recorder.note("stopped", run_id=instance.run_id)
        return Ok("done")


class Dawdles(Workflow):
    name = "dawdles"
    unique = Unique("dawdles")
    initial_step = Dawdle
    transitions = {(Dawdle, "done"): Done}


class Compute(Recorded):
    """Computes, and gives way to nothing."""

    def answer(self, instance, config, context):
        end = time.monotonic() + context.initial["seconds"]
        while time.monotonic() < end:
            pass
        return Ok("done")


class Computes(Workflow):
    name = "computes"
    unique = Unique("computes")
    initial_step = Compute
    transitions = {(Compute, "done"): Done}


class Enquire(Recorded):
    """Goes on for a minute, unless it learns that nobody waits for it."""

    def answer(self, instance, config, context):
        recorder.note("enquired", run_id=instance.run_id, cancelled=context.cancelled())
        end = time.monotonic() + 60
        while not context.cancelled() and time.monotonic() < end:
            time.sleep(0.01)
        recorder.note("learned", run_id=instance.run_id, cancelled=context.cancelled())
        return Ok("done")


class Enquires(Workflow):
    name = "enquires"
    unique = Unique("enquires")
    initial_step = Enquire
    transitions = {(Enquire, "done"): Done}


class EnquireAsync(Recorded):
    async def execute(self, instance, config, context):
        recorder.note("enquired", run_id=instance.run_id, cancelled=context.cancelled())
        while not context.cancelled():
            await asyncio.sleep(0.01)
        recorder.note("learned", run_id=instance.run_id, cancelled=True)
        return Ok("done")


class Fork(Recorded): ...


class Fatal(Recorded):
    retry = RetryPolicy(max_attempts=1)

    def answer(self, instance, config, context):
        recorder.wait_for_gate(context.initial["gate"])
        raise RuntimeError("it broke")


class FailsBesideEnquiry(Workflow):
    """A branch fails the run while another one asks."""

    name = "fails_beside_enquiry"
    unique = Unique("beside")
    initial_step = Fork
    transitions = {(Fork, "done"): [EnquireAsync, Fatal], (EnquireAsync, "done"): Done, (Fatal, "done"): Done}


class TimelyWait(Workflow):
    """Waits for a payment, but not for ever."""

    name = "timely_wait"
    unique = Unique("timely")
    initial_step = A
    transitions = {
        (A, "done"): (WaitForEvent, {"event_name": "paid"}),
        (WaitForEvent, "received"): B,
        (WaitForEvent, FAILED): B,
        (B, "done"): Done,
    }
    deadline = timedelta(seconds=10)


class TimelyWork(Workflow):
    """Has a step that never ends by itself."""

    name = "timely_work"
    unique = Unique("timely")
    initial_step = A
    transitions = {(A, "done"): Loser, (Loser, "done"): B, (B, "done"): Done}
    deadline = timedelta(seconds=10)
