"""The types that steps and workflows declare: where they come from, and what is said of those that can't be."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel

from hephaestus_celery import DefinitionError, Done, Ok, Step, Unique, WaitForEvent, Workflow
from hephaestus_celery.core.values import type_maker

R = TypeVar("R")
S = TypeVar("S")


class Receipt(BaseModel):
    number: int


class Order(BaseModel):
    items: int


class Charge(Step[Receipt]):
    events = ("charged",)

    def execute(self, instance, config, context):
        return Ok("charged", Receipt(number=1))


def name_of(declared):
    return None if declared.__data_type__ is None else declared.__data_type__.name


def test_a_step_has_the_type_in_its_brackets_and_so_have_its_subclasses():
    class Later(Charge):
        pass

    assert [name_of(step) for step in (Charge, Later, Charge.named("again"))] == ["Receipt"] * 3
    assert name_of(Step) is None
    assert Charge.key == "charge"


def test_a_generic_step_gets_its_type_from_its_subclass():
    class Fetch(Step[R], Generic[S, R]):
        events = ("fetched",)

    class FetchReceipt(Fetch[int, Receipt]):
        pass

    assert name_of(Fetch) is None
    assert name_of(FetchReceipt) == "Receipt"
    assert name_of(Fetch[str, Order].named("other")) == "Order"


def test_brackets_without_a_type_declare_none():
    for step in (Step[Any], Step[dict[str, Any]]):

        class Plain(step):
            pass

        assert name_of(Plain) is None


def test_a_wait_may_be_typed_with_and_without_a_class_of_its_own():
    class Paid(WaitForEvent[Receipt]):
        pass

    assert (Paid.key, name_of(Paid)) == ("paid", "Receipt")
    assert name_of(WaitForEvent[Receipt].named("signed")) == "Receipt"
    assert name_of(WaitForEvent) is None
    assert WaitForEvent[Receipt] is WaitForEvent[Receipt]

    class Flow(Workflow[Order]):
        unique = Unique("declaredwait")
        initial_step = (WaitForEvent[Receipt], {"event_name": "paid"})
        transitions = {(WaitForEvent[Receipt], "received"): Done}

    assert list(Flow.graph.by_key) == ["wait_for_event", "done"]
    assert name_of(Flow) == "Order"


def test_a_workflow_has_the_type_in_its_brackets_and_hands_it_down():
    class Shop(Workflow[Order], abstract=True):
        unique = Unique("declaredshop")

    class Small(Shop):
        initial_step = Done

    assert [name_of(Shop), name_of(Small), name_of(Workflow)] == ["Order", "Order", None]


def test_versions_have_types_of_their_own_or_that_of_their_umbrella():
    class Umbrella(Workflow[Order]):
        class First(Workflow, abstract=False):
            version = 1
            initial_step = Done

        class Second(Workflow[Receipt]):
            version = 2
            initial_step = Done

        unique = Unique("declaredversions")
        versions = {1: First, 2: Second}
        current = 2

    assert [name_of(each) for each in Umbrella.versions.values()] == ["Order", "Receipt"]


@pytest.mark.parametrize("declared", [int, list[Receipt], None, str | Receipt])
def test_a_type_that_is_no_mapping_is_a_problem_of_the_step(declared):
    with pytest.raises(DefinitionError, match="its type is a pydantic model, a dataclass or a TypedDict"):
        Step[declared]


def test_a_type_that_is_not_defined_yet_is_a_problem_of_the_step():
    with pytest.raises(DefinitionError, match="ForwardRef"):
        Step["Receipt"]


def test_a_type_that_pydantic_can_not_check_is_a_problem_in_its_words():
    class Engine:
        pass

    with pytest.raises(DefinitionError, match="Unable to generate pydantic-core schema"):

        class Flow(Workflow[dict[str, Engine]]):
            unique = Unique("declaredengine")
            initial_step = Done


def test_a_step_without_type_parameters_takes_no_brackets():
    with pytest.raises(TypeError, match="Charge"):
        Charge[Receipt]


HIDDEN = """
import sys

sys.modules["pydantic"] = sys.modules["pydantic_core"] = sys.modules["typing_extensions"] = None
from dataclasses import dataclass
from hephaestus_celery import DefinitionError, Done, Hephaestus, Ok, Step, Unique, WaitForEvent, Workflow


class Greet(Step):
    events = ("greeted",)

    def execute(self, instance, config, context):
        return Ok("greeted", {"to": context.input["name"]})


class Greeting(Workflow):
    unique = Unique("greeting")
    initial_step = Greet
    transitions = {(Greet, "greeted"): Done}


with Hephaestus():
    print(Greeting.start("a1", {"name": "Ann"}).wait(30).context.result(Greet))


@dataclass
class Name:
    name: str


for declare in (lambda: Step[Name], lambda: WaitForEvent[Name], lambda: type("Flow", (Workflow,), {"__orig_bases__": (Workflow[Name],)})):
    try:
        declare()
    except DefinitionError as error:
        print(error)
"""


def test_an_untyped_workflow_needs_no_pydantic_and_a_typed_one_says_what_to_install():
    ran = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    assert lines[0] == "{'to': 'Ann'}"
    problems = [line for line in lines if line.startswith("  - ")]
    assert len(problems) == 3
    assert all("pip install 'hephaestus-celery[pydantic]'" in line for line in problems), problems


def test_neither_the_package_nor_an_untyped_workflow_imports_pydantic():
    code = (
        "import sys; from hephaestus_celery import *; "
        "Flow = type('Flow', (Workflow,), {'unique': Unique('o'), 'initial_step': Done}); "
        "print([name for name in sys.modules if name.partition('.')[0] in ('pydantic', 'pydantic_core')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_nothing_provides_types_where_nothing_was_named(monkeypatch):
    monkeypatch.setattr(type_maker, "_found_by", [])
    with pytest.raises(ImportError):
        type_maker.maker()
