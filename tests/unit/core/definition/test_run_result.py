"""The method ``result`` of a workflow: what it may be, and what is said where it is something else."""

from __future__ import annotations

import functools

import pytest
from defining import define, problems_of, sound

from hephaestus_celery import Context, Done, Step, Unique, Workflow
from hephaestus_celery.core.definition.run_result import call_result


def of_context(context):
    return {"initial": context.initial}


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_static_method_or_a_method_of_the_class_gives_the_result(kind):
    flow = define(**sound(result=kind(lambda *given: {"given": len(given)})))
    assert flow.gives_result
    assert call_result(flow, Context()) == {"given": 1 if kind is staticmethod else 2}


def test_a_partial_may_be_a_static_method():
    flow = define(**sound(result=staticmethod(functools.partial(of_context))))
    assert call_result(flow, Context(initial={"a": 1})) == {"initial": {"a": 1}}


def test_a_workflow_has_no_result_unless_it_says_so():
    assert not define(**sound()).gives_result


def test_a_result_is_inherited():
    class Parent(Workflow):
        unique = Unique("resultparent")
        initial_step = Done

        @staticmethod
        def result(context):
            return {}

    class Child(Parent):
        unique = Unique("resultchild")

    assert Child.gives_result


def test_a_step_of_that_name_in_the_body_is_no_result():
    step = type("Result", (Step,), {"execute": lambda self, instance, config, context: None})
    flow = define(initial_step=step, transitions={step: Done}, result=step)
    assert not flow.gives_result


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (of_context, "result: of_context(context) is a plain function, and no workflow is ever instantiated"),
        (lambda self, context: {}, "is a plain function, and no workflow is ever instantiated"),
        ({"a": 1}, "result must be a static or class method that gives a mapping, not {'a': 1}"),
        (
            functools.partial(of_context),
            "result must be a static or class method that gives a mapping, not functools.partial",
        ),
        (property(of_context), "result must be a static or class method"),
        (staticmethod(lambda: None), "must be result(context)"),
        (staticmethod(lambda context, more: {}), "must be result(context)"),
        (classmethod(lambda context: {}), "must be result(cls, context)"),
    ],
    ids=["plain", "of self", "a mapping", "a partial", "a property", "nothing", "two", "class without context"],
)
def test_anything_else_is_a_problem_with_advice(found, said):
    [problem] = problems_of(**sound(result=found))
    assert said in problem


def test_a_result_is_not_awaited():
    async def awaited(context):
        return {}

    async def stream(context):
        yield {}

    def generated(context):
        yield {}

    for found, said in ((awaited, "async def"), (stream, "async def"), (generated, "generator")):
        [problem] = problems_of(**sound(result=staticmethod(found)))
        assert said in problem


def test_a_misspelt_result_is_a_problem():
    [problem] = problems_of(**sound(results=staticmethod(of_context)))
    assert problem == "results is no option of a workflow; did you mean result?"
    [problem] = problems_of(**sound(results={"a": 1}))
    assert problem == "results is no option of a workflow; did you mean result?"


def test_other_problems_are_listed_beside_it():
    problems = problems_of(**sound(result=of_context, version=0))
    assert len(problems) == 2


def test_each_version_of_an_umbrella_has_its_own():
    first = define(initial_step=Done, version=1, name="run_result.v1", result=staticmethod(of_context))
    [problem] = problems_of(versions={1: first}, current=1, result=staticmethod(of_context))
    assert problem == "result together with versions: each version has its own"
    assert define(name="run_result.all", versions={1: first}, current=1).versions[1].gives_result
