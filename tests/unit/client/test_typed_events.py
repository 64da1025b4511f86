"""Data of events that has a type: validated where the event is sent, and nothing is left of one that does not fit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal

import pytest
from pydantic import BaseModel
from stage import eventually

from hephaestus_celery import (
    Again,
    Async,
    DataError,
    Done,
    Hephaestus,
    LocalRunner,
    NotWaitingError,
    Step,
    Unique,
    WaitForEvent,
    Workflow,
    telemetry,
)
from hephaestus_celery.client import typed_events
from hephaestus_celery.testing import EventCapture


@dataclass
class Payment:
    payer: str
    amount: Decimal = Decimal(0)


class Signature(BaseModel):
    by: str


class Approve(Step[Signature]):
    events = ("signed", "declined")

    def execute(self, instance, config, context):
        return Async()


class Paid(WaitForEvent[Payment]):
    pass


class TypedEvents(Workflow):
    unique = Unique("typedevents")
    initial_step = (Paid, {"event_name": "paid"})
    transitions = {Paid: Approve, (Approve, "signed"): Done, (Approve, "declined"): Done}


@pytest.fixture(autouse=True)
def runtime():
    with Hephaestus() as hephaestus:
        yield hephaestus


def waiting_for(handle, step):
    while step not in handle.get().waiting_steps:  # which another thread does in a moment
        pass
    return handle


@pytest.fixture
def handle():
    return waiting_for(TypedEvents.start("a1", {}), Paid)


def test_an_object_and_a_mapping_are_stored_alike(handle):
    handle.resume("paid", Payment("Ada", Decimal(3)))
    waiting_for(handle, Approve).resume("signed", {"by": "Ann", "more": 1})
    context = handle.wait(10).context
    assert context.result(Paid) == Payment("Ada", Decimal(3))
    assert context.steps["paid"] == {"payer": "Ada", "amount": Decimal(3)}
    assert context.steps["approve"] == {"by": "Ann"}


@pytest.mark.parametrize("data", [{"amount": "much", "payer": "Ada"}, {}, Signature(by="Ann"), Payment(payer=5)])
def test_data_that_does_not_fit_is_refused_and_leaves_no_trace(handle, data, runtime):
    for send in (handle.resume, lambda *given, **named: runtime.resume("typedevents::a1", *given, **named)):
        with pytest.raises(DataError, match=r"^data.*\(expected Payment\)$"):
            send("paid", data, key="evt_1")
    assert handle.history() == handle.history()[:1]
    handle.resume("paid", {"payer": "Ada"}, key="evt_1")
    assert waiting_for(handle, Approve).get().context.result(Paid) == Payment("Ada")


def test_event_loops_validate_too(handle):
    async def send():
        with pytest.raises(DataError, match=r"data\.payer: Field required"):
            await handle.aio.resume("paid", {"amount": 1})
        await handle.aio.resume("paid", Payment("Ada"))

    asyncio.run(send())
    assert waiting_for(handle, Approve).get().context.result(Paid) == Payment("Ada")


def test_an_early_event_is_validated_where_it_is_sent(handle):
    with pytest.raises(DataError, match=r"data\.by: Field required"):
        handle.resume("signed", {"of": "Ann"}, keep_early=True)
    handle.resume("signed", {"by": "Ann"}, keep_early=True)
    handle.resume("paid", {"payer": "Ada"})
    assert handle.wait(10).context.result(Approve) == Signature(by="Ann")


def test_what_nothing_waits_for_is_refused_for_that(handle):
    with pytest.raises(NotWaitingError):
        handle.resume("signed", {"of": "Ann"})


def test_an_event_without_data_is_validated_where_a_step_has_no_other_answer(handle):
    handle.resume("paid")  # WaitForEvent has two events: then there is no object
    context = waiting_for(handle, Approve).get().context
    with pytest.raises(KeyError, match="completed with the event 'received', and gave no result"):
        context.result(Paid)

    class Only(Step[Signature]):
        events = ("signed",)

        def execute(self, instance, config, context):
            return Async()

    class OnlyFlow(Workflow):
        unique = Unique("typedonlyevent")
        initial_step = Only
        transitions = {Only: Done}

    only = waiting_for(OnlyFlow.start("a1", {}), Only)
    with pytest.raises(DataError, match=r"data\.by: Field required"):
        only.resume("signed")


def test_an_event_that_two_steps_of_different_types_may_take_is_left_to_the_worker():
    class One(WaitForEvent[Payment]):
        pass

    class Two(WaitForEvent[Signature]):
        pass

    class TwoFlow(Workflow):
        unique = Unique("typedtwo")
        initial_step = [(One, {"event_name": "came"}), (Two, {"event_name": "came"})]
        transitions = {One: Done, Two: Done}

    handle = waiting_for(waiting_for(TwoFlow.start("a1", {}), One), Two)
    handle.resume("came", {"by": "Ann"}, step=Two)
    with pytest.raises(DataError, match=r"data\.payer: Field required"):
        handle.resume("came", {"by": "Ann"}, step="one")
    handle.resume("came", {"payer": "Ada"})
    assert handle.wait(10).status == "completed"


def test_an_event_from_a_process_that_does_not_know_the_type_is_dropped_by_the_worker(handle, monkeypatch, runtime):
    def send_unchecked(data, **options):
        with monkeypatch.context() as patched:
            patched.setattr(typed_events, "find_definition", lambda _: None)  # as where the workflow is not defined
            handle.resume("paid", data, **options)

    discarded = []
    telemetry.attach("test-discards", ("hephaestus", "step", "discard"), lambda *given: discarded.append(given[2]))
    try:
        send_unchecked({"amount": 1}, key="evt_1", by="ann")
        entry = eventually(lambda: next((one for one in handle.history() if one.outcome == "discarded"), None))
    finally:
        telemetry.detach("test-discards")
    assert (entry.kind, entry.step, entry.event, entry.by) == ("resume", "paid", "received", "ann")
    assert entry.reason == "data.payer: Field required [missing] (expected Payment)"
    assert [(found["step"], found["sequence"]) for found in discarded] == [(Paid, entry.sequence)]
    waiting_for(handle, Paid)
    send_unchecked({"payer": "Ada", "more": 1}, key="evt_1")
    context = waiting_for(handle, Approve).get().context
    assert context.steps["paid"] == {"payer": "Ada", "amount": Decimal(0)}


class SignedInTime(Step[Signature]):
    def execute(self, instance, config, context):
        return Again(0) if context.round == 1 else Async()


class SignedInTimeFlow(Workflow):
    unique = Unique("typedsignedintime")
    initial_step = SignedInTime
    transitions = {SignedInTime: Done}


def test_an_event_that_is_dropped_in_a_later_round_is_told_with_it(monkeypatch):
    handle = SignedInTimeFlow.start("a1", {})
    eventually(lambda: [entry.outcome for entry in handle.history()] == ["again", "waiting"])
    with EventCapture() as capture:
        with monkeypatch.context() as patched:
            patched.setattr(typed_events, "find_definition", lambda _: None)  # as where the workflow is not defined
            handle.resume("ok", {"of": "Ann"})
        entry = eventually(lambda: next((one for one in handle.history() if one.outcome == "discarded"), None))
    [told] = [event.metadata for event in capture.events if event.event[1:] == ("step", "discard")]
    assert (told["round"], told["sequence"]) == (2, entry.sequence)
    waiting_for(handle, SignedInTime).resume("ok", {"by": "Ann"})
    assert handle.wait(10).context.result(SignedInTime) == Signature(by="Ann")


class ByHand(LocalRunner):
    """Executes the messages that it has when its test says so."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def dispatch(self, messages):
        self.messages.extend(messages)

    def perform(self):
        while self.messages:
            self.messages.extend(self._drive(self.messages.pop(0)))


@pytest.mark.parametrize(("first", "event"), [({"amount": 1}, "discarded"), ({"payer": "Bob"}, "completed")])
def test_an_early_event_is_kept_while_a_worker_may_yet_drop_the_one_before(monkeypatch, first, event):
    runner = ByHand()
    with Hephaestus(runner=runner):
        handle = TypedEvents.start("a1", {})
        runner.perform()
        with monkeypatch.context() as patched:
            patched.setattr(typed_events, "find_definition", lambda _: None)  # as where the workflow is not defined
            handle.resume("paid", first)
        with pytest.raises(NotWaitingError, match="paid of typedevents::a1 has been given an event already"):
            handle.resume("paid", {"payer": "Ada"})
        handle.resume("paid", {"payer": "Ada"}, keep_early=True)
        runner.perform()
        assert next(entry.outcome for entry in handle.history() if entry.kind == "resume") == event
        assert handle.get().context.steps["paid"]["payer"] == {"discarded": "Ada", "completed": "Bob"}[event]
