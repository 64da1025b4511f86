"""Behaviour 2.1: functions are steps too."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from celery import Celery
from celery.local import Proxy
from defining import A, define, problems_of

from hephaestus_celery import Async, DefinitionError, Done, Error, Ok, RetryPolicy, Step, step
from hephaestus_celery.runners.execution import call
from hephaestus_celery.runners.step_result import Completed


@step
def reserve_shelf(context):
    """Reserves a shelf."""
    return {"shelf": context}


RUN = SimpleNamespace(context=None)


class Place:
    @step
    def within(context):  # noqa: N805 - a step in the body of a class
        return None


def problems_with(function, **options):
    with pytest.raises(DefinitionError) as refused:
        step(**options)(function)
    return refused.value.problems


def executed(made):
    return made().execute("the instance", "the config", "the context")


def test_a_function_is_a_step_class():
    assert issubclass(reserve_shelf, Step)


def test_the_step_is_named_by_the_function():
    assert (reserve_shelf.__name__, reserve_shelf.__qualname__, reserve_shelf.__module__, reserve_shelf.key) == (
        "reserve_shelf",
        "reserve_shelf",
        __name__,
        "reserve_shelf",
    )


def test_the_docstring_is_that_of_the_function():
    assert reserve_shelf.__doc__ == "Reserves a shelf."


def test_the_function_stays_callable():
    assert (reserve_shelf.function(7), reserve_shelf().function(7)) == ({"shelf": 7}, {"shelf": 7})


def test_the_class_itself_is_not_called():
    with pytest.raises(TypeError, match=r"reserve_shelf is a step, .* call reserve_shelf\.function"):
        reserve_shelf("a context")


def test_a_step_can_be_pickled():
    assert pickle.loads(pickle.dumps([reserve_shelf, Place.within])) == [reserve_shelf, Place.within]


def test_the_source_is_that_of_the_function():
    lines, first = inspect.getsourcelines(reserve_shelf)
    assert (lines[0], "".join(lines[1:2])) == ("@step\n", "def reserve_shelf(context):\n")
    assert first == inspect.getsourcelines(reserve_shelf.function)[1]


def test_a_step_in_the_body_of_a_class_is_named_by_its_place():
    assert Place.within.__qualname__ == "Place.within"


def test_the_arguments_are_those_that_are_named():
    @step
    def some(context, instance):
        return (instance, context)

    @step
    def none():
        return "ok"

    @step
    def by_name(*, config, context):
        return (config, context)

    @step
    def by_position(config, instance, /, context):
        return (config, instance, context)

    assert [executed(each) for each in (some, none, by_name, by_position)] == [
        ("the instance", "the context"),
        "ok",
        ("the config", "the context"),
        ("the config", "the instance", "the context"),
    ]


def test_the_function_may_be_async():
    @step
    async def later(context):
        return context

    assert asyncio.run(executed(later)) == "the context"


def test_the_options_are_those_of_a_step():
    policy = RetryPolicy(max_attempts=2)

    @step(events=["one", "two"], key="other", retry=policy, time_limit=timedelta(seconds=5), queue="q", priority=3)
    def some():
        return "one"

    assert (some.events, some.key, some.retry) == (["one", "two"], "other", policy)
    assert (some.time_limit, some.queue, some.priority) == (timedelta(seconds=5), "q", 3)


def test_the_options_may_be_left_out():
    @step()
    def some(): ...

    assert (some.events, some.key, some.retry, some.time_limit, some.queue, some.priority) == (
        ("ok",),
        "some",
        None,
        None,
        None,
        None,
    )


def test_a_named_step_calls_the_same_function():
    again = reserve_shelf.named("again")
    assert (again.key, again.function(1), executed(again), inspect.getsource(again)) == (
        "again",
        {"shelf": 1},
        {"shelf": "the context"},
        inspect.getsource(reserve_shelf),
    )


def test_a_subclass_changes_what_it_declares():
    class Slow(reserve_shelf):
        time_limit = 60

    assert (Slow.key, Slow.time_limit, executed(Slow)) == ("slow", 60, {"shelf": "the context"})


def test_functions_and_classes_make_one_workflow():
    flow = define(
        initial_step=reserve_shelf, transitions={reserve_shelf: A, A: (Place.within, {"n": 1}), Place.within: Done}
    )
    assert list(flow.graph.by_key) == ["reserve_shelf", "a", "within", "done"]


@pytest.mark.parametrize(("answer", "event"), [(None, "ok"), ({}, "ok"), ("ok", "ok"), (Ok("ok"), "ok")])
def test_a_function_answers_in_short(answer, event):
    @step
    def some():
        return answer

    assert call(some, RUN, lambda: None, limit=100) == Completed(event=event, result=None, metadata=None)


def test_the_stacktrace_of_a_failure_has_the_function_alone():
    @step
    def broken():
        raise KeyError("total")

    failure = call(broken, RUN, lambda: None, limit=100)
    assert [frame.name for frame in failure.stacktrace] == ["broken"]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("order", "it may have instance, config and context; data of the run is in context"),
        ("ctx", "did you mean context?"),
        ("contxt", "did you mean context?"),
        ("Instance", "did you mean instance?"),
        ("cfg", "did you mean config?"),
    ],
)
def test_any_other_parameter_is_a_problem(name, advice):
    scope = {}
    exec(f"def some(context, {name}): ...", scope)
    assert problems_with(scope["some"]) == (f"{name} is no parameter of a step's function; {advice}",)


def test_a_parameter_with_a_default_is_a_problem_too():
    def some(context, limit=10): ...

    assert len(problems_with(some)) == 1


def test_a_method_is_a_problem():
    def execute(self, instance, config, context): ...

    assert problems_with(execute) == (
        "self is no parameter of a step's function, which is no method; write a function, or a subclass of Step",
    )


def test_open_parameters_are_a_problem():
    def some(*arguments, **options): ...

    assert [problem.partition(":")[0] for problem in problems_with(some)] == [
        "*arguments is no parameter of a step's function",
        "**options is no parameter of a step's function",
    ]


def test_every_problem_is_listed():
    def some(order): ...

    assert problems_with(
        some, retries=3, event="paid", colour=1, priority=-1, time_limit="soon", events=["a", "a"]
    ) == (
        "retries is no option of a step; did you mean retry?",
        "event is no option of a step; did you mean events?",
        "colour is no option of a step; options are events, key, priority, queue, retry, time_limit",
        "order is no parameter of a step's function; it may have instance, config and context; data of the run is in context",
        "step some: events has a name twice: ['a', 'a']",
        "step some: time_limit must be seconds or a timedelta, not 'soon'",
        "step some: priority must be an int from 0 to 255 or None, not -1",
    )


@pytest.mark.parametrize("events", [(), []])
def test_a_function_without_events_is_a_problem(events):
    def some(): ...

    assert problems_with(some, events=events) == ("events is empty; a step completes with one of its events",)


def test_a_decorated_function_has_the_parameters_of_what_it_wraps():
    def logged(function):
        @functools.wraps(function)
        def wrapper(*arguments, **options):
            return ["logged", function(*arguments, **options)]

        return wrapper

    @step
    @logged
    def some(config):
        return config

    assert (some.key, executed(some)) == ("some", ["logged", "the config"])


def test_a_wrapper_that_has_parameters_of_its_own_goes_by_these():
    def with_session(function):
        @functools.wraps(function)
        def wrapper(context):
            return function(context, session="a session")

        return wrapper

    @step
    @with_session
    def some(context, session):
        return [context, session]

    assert executed(some) == ["the context", "a session"]


def test_a_wrapper_that_is_no_function_stands_for_its_function():
    @step
    @functools.lru_cache
    def some(config):
        return config

    assert (some.key, executed(some)) == ("some", "the config")


class Callable:
    def __call__(self, context): ...

    def method(self, context): ...


app = Celery("tasks_under_step", set_as_current=False)


@app.task(shared=False)
def a_task(): ...


async def numbers():
    yield 1


def letters():
    yield "a"


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (lambda context: None, "a lambda has no name: write it with def"),
        (int, "int is a class: let it be a subclass of Step"),
        (A, "A is a step already"),
        (reserve_shelf, "reserve_shelf is a step already"),
        (staticmethod(letters), "is a method; write a function"),
        (classmethod(letters), "is a method; write a function"),
        (Callable().method, "is a method; write a function"),
        (Callable(), "(Callable) is another callable: write a function that calls it"),
        (functools.partial(letters), "(partial) is another callable"),
        (print, "is another callable"),
        (letters, "letters is a generator, which returns no answer"),
        (numbers, "numbers is a generator, which returns no answer"),
        ("paid", "not 'paid' (str); its options have names"),
        (None, "not None (NoneType)"),
        (5, "not 5 (int)"),
        (a_task, "task_step(task) makes a step of it"),
    ],
    ids=range(16),
)
def test_what_is_no_function_is_refused(value, answer):
    with pytest.raises(DefinitionError) as refused:
        step(value)
    (problem,) = refused.value.problems
    assert answer in problem


def test_a_task_that_is_made_later_is_not_evaluated():
    later = Proxy(lambda: pytest.fail("evaluated, before the application is there"))
    with pytest.raises(DefinitionError, match="task_step"):
        step(later)


def test_only_one_function_is_taken():
    with pytest.raises(DefinitionError, match="takes one function, not 2"):
        step(letters, letters)


def test_a_function_or_task_in_the_place_of_a_step_is_told_what_to_do():
    problems = problems_of(initial_step=letters, transitions={letters: (a_task, {}), (A, "ok"): Done})
    assert [problem.rpartition("; ")[2] for problem in problems[:3]] == [
        "put @step over letters",
        "put @step over letters",
        "task_step makes a step of a task",
    ]


def says(annotation):
    def some(): ...

    some.__annotations__["return"] = annotation
    return some


@pytest.mark.parametrize(
    "annotation",
    [
        Literal["a", "b"],
        Literal["a"] | Ok,
        Literal["a"] | Async,
        Literal["a"] | Error,
        "Literal['a', 'b']",
        "NowhereToBeFound",
        "1 +",
        "Literal['a'] | None | NowhereToBeFound",
        Any,
        str,
        str | None,
        Ok | dict[str, int],
        Mapping[str, Any] | str,
        Literal["a", b"b"],
        Literal["a", 1],
        type,
        "list[int] | str",
        5,
    ],
    ids=str,
)
def test_an_annotation_that_may_be_right_is_no_problem(annotation):
    assert step(events=("a", "b"))(says(annotation)).events == ("a", "b")


@pytest.mark.parametrize(
    "annotation", [None, dict, dict[str, int], Mapping[str, Any], "None", "dict", Ok, Literal["ok"]], ids=str
)
def test_a_step_with_one_event_may_give_a_mapping_or_none(annotation):
    assert step(says(annotation)).events == ("ok",)


def test_an_event_that_is_not_declared_is_a_problem():
    assert problems_with(says(Literal["a", "c"] | None), events=("a", "b")) == (
        "its return annotation has 'c', an event that it does not declare ('a', 'b')",
    )


def test_an_event_that_the_function_cant_give_is_a_problem():
    assert problems_with(says("Literal['a']"), events=("a", "b")) == (
        "events has 'b', an event that it can't give: its return annotation does not have it",
    )


@pytest.mark.parametrize("annotation", [None, dict[str, int], dict | None, Mapping[str, Any]])
def test_no_event_among_several_is_a_problem(annotation):
    (problem,) = problems_with(says(annotation), events=("a", "b"))
    assert problem.endswith("an answer must name one of its events ('a', 'b'): return it, or Ok(event, ...)")


@pytest.mark.parametrize("annotation", [int, list[int], "tuple[int, str]", bool | float])
def test_what_is_no_answer_is_a_problem(annotation):
    (problem,) = problems_with(says(annotation))
    assert "which is no answer of a step" in problem
