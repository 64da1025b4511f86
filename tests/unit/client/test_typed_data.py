"""Typed data from start to end, on threads of this process: what is validated when, and what an error says."""

from __future__ import annotations

import asyncio
import copy
import pickle
from dataclasses import dataclass
from decimal import Decimal

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from hephaestus_celery import (
    Context,
    DataError,
    Done,
    Hephaestus,
    Ok,
    RetryPolicy,
    Step,
    Unique,
    WaitForEvent,
    Workflow,
    route,
)

ANSWERS: dict[str, object] = {}
SEEN: list[object] = []


class Order(BaseModel):
    items: int = Field(gt=0)
    price: Decimal = Decimal("1.50")


@dataclass
class Receipt:
    total: Decimal


class Parcel(TypedDict):
    weight: int


class Charge(Step[Receipt]):
    events = ("charged", "declined")
    retry = RetryPolicy(max_attempts=3, base=0, jitter=False)

    def execute(self, instance, config, context):
        SEEN.append(context.input)
        answer = ANSWERS.get("charge")
        if answer is not None:
            return answer
        return Ok("charged", Receipt(context.input.items * context.input.price))


class Pack(Step[Parcel]):
    retry = RetryPolicy(max_attempts=2, base=0, jitter=False)

    def execute(self, instance, config, context):
        SEEN.append(context.result(Charge))
        SEEN.append(context.result("charge"))
        return ANSWERS.get("pack", {"weight": "3"})


class TypedOrder(Workflow[Order]):
    unique = Unique("typeddata")
    initial_step = Charge
    transitions = {(Charge, "charged"): Pack, (Charge, "declined"): Done, (Pack, "ok"): Done}


@pytest.fixture(autouse=True)
def runtime():
    ANSWERS.clear()
    SEEN.clear()
    with Hephaestus() as hephaestus:
        yield hephaestus


def run(context=None, workflow=TypedOrder):
    return workflow.start("a1", {"items": 2} if context is None else context).wait(10)


def test_objects_go_in_and_come_out_at_every_step():
    instance = run(Order(items=2))
    assert instance.status == "completed", instance.failure
    assert [Order(items=2), Receipt(Decimal("3.00")), {"total": Decimal("3.00")}] == SEEN
    assert instance.context.initial == {"items": 2, "price": Decimal("1.50")}, "plain, with its defaults"
    assert instance.context.steps == {"charge": {"total": Decimal("3.00")}, "pack": {"weight": 3}, "done": {}}
    assert instance.context.input == Order(items=2)
    assert instance.context.result(Pack) == {"weight": 3}


def test_a_mapping_is_validated_as_an_object_is():
    assert run({"items": "2"}).context.initial == {"items": 2, "price": Decimal("1.50")}


def test_a_start_that_does_not_fit_stores_nothing(runtime):
    for wrong, told in (
        ({"items": 0}, "greater than 0"),
        (None, "Field required"),
        (Receipt(Decimal(1)), "dictionary"),
    ):
        with pytest.raises(DataError, match=rf"^context.*{told}.*\(expected Order\)"):
            TypedOrder.start("a1", wrong)
    with pytest.raises(ExceptionGroup) as refused:
        TypedOrder.start_many([("a1", {"items": 0}), ("a2", Order(items=1))])
    assert "context.items: Input should be greater than 0" in str(refused.value.exceptions[0])
    assert runtime.count(workflow=TypedOrder) == 1


def test_starts_on_event_loops_validate_too():
    async def start():
        handle = await TypedOrder.aio.start("a1", Order(items=2))
        with pytest.raises(DataError, match=r"context\.items"):
            await TypedOrder.aio.start("a2", {"items": 0})
        return await handle.aio.wait(10)

    assert asyncio.run(start()).status == "completed"


def test_an_object_of_its_type_is_a_short_answer_of_a_step_with_one_event():
    class Only(Step[Receipt]):
        def execute(self, instance, config, context):
            return Receipt(Decimal(1))

    class OnlyFlow(Workflow):
        unique = Unique("typedonly")
        initial_step = Only
        transitions = {Only: Done}

    assert run({}, OnlyFlow).context.result(Only) == Receipt(Decimal(1))
    ANSWERS["charge"] = Receipt(Decimal(1))
    instance = run()
    assert "it declares several ('charged', 'declined')" in instance.failure.message


@pytest.mark.parametrize(
    "answer", [Ok("charged", {"total": "much"}), Ok("charged", Order(items=1)), Ok("charged", Receipt("much"))]
)
def test_a_result_that_does_not_fit_fails_the_attempt_for_good(answer):
    ANSWERS["charge"] = answer
    instance = run()
    assert instance.status == "failed"
    assert instance.failure.type == "hephaestus_celery.exceptions.DataError"
    assert instance.failure.message.startswith("step charge (Charge): context")
    assert len(SEEN) == 1, "it is not tried again"


def test_an_answer_without_a_result_is_not_validated_where_there_are_several_events():
    ANSWERS["charge"] = Ok("declined")
    instance = run()
    assert instance.status == "completed"
    with pytest.raises(KeyError, match="step 'charge' completed with the event 'declined', and gave no result"):
        instance.context.result(Charge)
    assert instance.context.result("charge") == {}
    with pytest.raises(KeyError, match="step 'pack' had not completed"):
        instance.context.result(Pack)


def test_an_answer_without_a_result_is_validated_where_there_is_one_event():
    ANSWERS["pack"] = None
    instance = run()
    assert instance.failure.message.startswith("step pack (Pack): context.weight: Field required")


class Maybe(BaseModel):
    note: str = "none"


class Empty(TypedDict, total=False):
    note: str


def test_what_has_nothing_but_defaults_is_an_object_all_the_same():
    class Quiet(Step[Maybe]):
        def execute(self, instance, config, context):
            return None

    class Silent(Step[Empty]):
        events = ("one", "two")

        def execute(self, instance, config, context):
            return Ok("one", {})

    class QuietFlow(Workflow):
        unique = Unique("typedquiet")
        initial_step = Quiet
        transitions = {Quiet: Silent, (Silent, "one"): Done, (Silent, "two"): Done}

    instance = run({}, QuietFlow)
    assert instance.context.steps["quiet"] == {"note": "none"}
    assert instance.context.result(Quiet) == Maybe()
    assert instance.context.result(Silent) == {}


def test_a_timeout_has_no_object():
    class Signed(WaitForEvent[Receipt]):
        pass

    class SignedFlow(Workflow):
        unique = Unique("typedsigned")
        initial_step = (Signed, {"event_name": "signed", "timeout": 0.01})
        transitions = {(Signed, "received"): Done, (Signed, "timeout"): Done}

    with pytest.raises(KeyError, match="completed with the event 'timeout', and gave no result"):
        run({}, SignedFlow).context.result(Signed)


def test_an_object_is_made_once_and_its_changes_stay_with_the_step():
    class Change(Step):
        def execute(self, instance, config, context):
            assert context.input is context.input
            context.input.items = 99

    class ChangeFlow(Workflow[Order]):
        unique = Unique("typedchange")
        initial_step = Change
        transitions = {Change: Done}

    assert run({"items": 2}, ChangeFlow).context.input == Order(items=2)


def test_an_untyped_workflow_gives_the_mapping():
    class Look(Step):
        def execute(self, instance, config, context):
            SEEN.append((context.input, context.input is context.initial))
            return {"seen": 1}

    class LookFlow(Workflow):
        unique = Unique("typedlook")
        initial_step = Look
        transitions = {Look: Done}

    assert run({"x": 1}, LookFlow).context.result(Look) == {"seen": 1}
    assert SEEN == [({"x": 1}, True)]


def test_copies_and_pickles_of_a_context_still_know_the_type():
    instance = run()
    for made in (copy.deepcopy(instance), pickle.loads(pickle.dumps(instance)), copy.copy(instance)):
        assert made.context.input == Order(items=2)
        assert made.context.result(Charge) == Receipt(Decimal("3.00"))
    assert pickle.loads(pickle.dumps(instance.context)).input == Order(items=2)
    assert copy.deepcopy(instance.context).input == Order(items=2)


def test_a_context_of_a_test_reads_types_too():
    context = Context(initial={}, steps={"charge": {"total": "3"}})
    assert context.result(Charge) == Receipt(Decimal(3))
    assert context.input == {}
    with pytest.raises(DataError, match="the result of step charge does not fit Receipt, as this code declares it"):
        Context(steps={"charge": {}}).result(Charge)


class First(BaseModel):
    name: str


class Second(BaseModel):
    name: str
    email: str
    age: int = 0


class Look(Step):
    events = ("looked",)
    retry = RetryPolicy(max_attempts=5, base=0, jitter=False)

    def execute(self, instance, config, context):
        SEEN.append("look")
        if ANSWERS.get("look") == "caught":
            try:
                SEEN.append(context.input)
            except DataError as error:
                raise RuntimeError("mine") from error
        SEEN.append(context.input)
        return Ok("looked")


class ChangedFlow(Workflow[First]):
    unique = Unique("typedchanged")
    name = "shop.ChangedFlow"
    version = 3
    initial_step = Look
    transitions = {(Look, "looked"): Done}


@pytest.fixture
def changed(monkeypatch):
    """The workflow's type after its runs were started: what other code in their place would declare."""

    class Other(Workflow[Second]):
        unique = Unique("typedother")
        initial_step = Done

    def change():
        monkeypatch.setattr(ChangedFlow, "__data_type__", Other.__data_type__)

    return change


def test_a_changed_model_fails_the_step_that_reads_it_for_good_and_says_so(changed, runtime):
    handle = start_paused(runtime)
    changed()
    handle.unpause()
    instance = handle.wait(10)
    assert instance.status == "failed"
    assert SEEN == ["look"], "it is not tried again"
    told = (
        "the initial context does not fit Second, as version 3 of shop.ChangedFlow declares it: context.email: Field required "
        "[missing]. It was stored by other code; let Second read it too, and retry the run"
    )
    assert instance.failure.type == "hephaestus_celery.exceptions.DataError"
    assert instance.failure.message == told
    assert handle.history()[-1].reason == f"hephaestus_celery.exceptions.DataError: {told}"


def start_paused(runtime):
    ChangedFlow.pause()
    handle = ChangedFlow.start("a1", First(name="Ann"))
    handle.pause()
    ChangedFlow.unpause()
    return handle


def test_a_retry_goes_on_after_the_mend(changed, runtime):
    handle = start_paused(runtime)
    changed()
    handle.unpause()
    assert handle.wait(10).status == "failed"
    with pytest.raises(DataError, match=r"context\.email: Field required"):
        handle.retry(context={"age": 3})
    with pytest.raises(DataError, match=r"context\.age: Input should be a valid integer"):
        handle.retry(context={"email": "a@example.org", "age": "old"})
    again = handle.retry(context={"email": "a@example.org"}).wait(10)
    assert again.status == "completed"
    assert SEEN[-1] == Second(name="Ann", email="a@example.org")
    assert again.context.initial == {"name": "Ann", "email": "a@example.org", "age": 0}


def test_what_a_step_makes_of_the_error_is_its_own(changed, runtime):
    ANSWERS["look"] = "caught"
    handle = start_paused(runtime)
    changed()
    handle.unpause()
    assert handle.wait(10).failure.message == "mine"
    assert SEEN == ["look"] * 5, "another error than ours is tried again"


class Settle(Step):
    events = ("settled",)
    retry = RetryPolicy(max_attempts=5, base=0, jitter=False)

    def execute(self, instance, config, context):
        SEEN.append("settle")
        return Ok("settled", {"x": 1})


class RoutedFlow(Workflow[First]):
    unique = Unique("typedrouted")
    initial_step = Settle
    transitions = {}

    @route(Settle, "settled", targets=[Done])
    def after(self, context):
        SEEN.append(context.input.name)
        return Done


def test_a_route_reads_types_and_fails_its_step_for_good(monkeypatch):
    assert run({"name": "Ann"}, RoutedFlow).status == "completed"
    assert SEEN == ["settle", "Ann"]
    SEEN.clear()
    RoutedFlow.pause()
    handle = RoutedFlow.start("a2", {"name": "Ann"})
    monkeypatch.setattr(RoutedFlow, "__data_type__", TypedOrder.__data_type__)
    RoutedFlow.unpause()
    instance = handle.wait(10)
    assert "the initial context does not fit Order" in instance.failure.message
    assert SEEN == ["settle"]


def test_a_fork_validates_what_is_laid_over():
    handle = TypedOrder.start("a1", Order(items=2))
    handle.wait(10)
    with pytest.raises(DataError, match=r"context\.items: Input should be greater than 0"):
        TypedOrder.fork("a1", Charge, context={"items": 0})
    forked = TypedOrder.fork("a1", Charge, context=Order(items=5, price=Decimal(2))).wait(10)
    assert forked.context.input == Order(items=5, price=Decimal(2))
    assert TypedOrder.fork("a1", Charge, context={"items": "7"}).wait(10).context.initial["items"] == 7


def test_what_was_read_can_be_given_again():
    first = run({"items": 2})
    assert TypedOrder.start("a2", first.context.initial).wait(10).context.input == Order(items=2)
