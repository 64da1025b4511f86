"""Behaviour 2.1: Celery tasks are steps too."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace

import celery._state
import pydantic
import pytest
from celery import Celery, Task, current_task, shared_task
from celery.exceptions import Ignore, Reject
from celery.local import Proxy
from defining import problems_of

from hephaestus_celery import (
    Context,
    DefinitionError,
    Done,
    Hephaestus,
    RetryPolicy,
    Step,
    Unique,
    Workflow,
    step,
    task_step,
)
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.runners.execution import call
from hephaestus_celery.runners.step_exceptions import Failed
from hephaestus_celery.runners.step_result import Completed

app = Celery("shop_tasks", broker="memory://", set_as_current=False)
app.conf.task_publish_retry = False


@pytest.fixture(autouse=True)
def publishes():
    """The names of the tasks for which a message was sent."""
    sent = []
    send = app.amqp.send_task_message
    app.amqp.send_task_message = lambda producer, name, message, **options: sent.append(name)
    yield sent
    app.amqp.send_task_message = send


@pytest.fixture
def in_this_test(monkeypatch):
    """What ``@shared_task`` registers for all applications is forgotten after the test."""
    monkeypatch.setattr(celery._state, "_on_app_finalizers", set(celery._state._on_app_finalizers))


@app.task(shared=False)
def charge(amount=1, currency="EUR"):
    """Charges a card."""
    return {"paid": amount, "in": currency}


@app.task(shared=False)
def count(items):
    return len(items)


@app.task(shared=False, bind=True)
def bound(self):
    return {
        "id": self.request.id,
        "retries": self.request.retries,
        "kwargs": self.request.kwargs,
        "args": self.request.args,
        "current": current_task.name,
        "direct": self.request.called_directly,
    }


class FruitlessError(Exception):
    """What goes wrong here."""


def refuse():
    raise FruitlessError("no card")


class Run(SimpleNamespace):
    """As much of an instance as a step needs that is a task."""

    def idempotency_key(self, step):
        return Activation(step.key).idempotency_key("a-run")


def execute(made, initial=None, *, attempt=1):
    run = Run(context=Context(initial=initial or {}), step_states={made.key: SimpleNamespace(attempt=attempt)})
    return call(made, run, lambda: None, limit=1000)


def raising(error, **options):
    """A step of a task that raises this."""

    @app.task(shared=False, name=f"raising_{id(error)}_{len(options)}", **options)
    def raises():
        raise error

    return task_step(raises)


def problems_with(task, **options):
    with pytest.raises(DefinitionError) as refused:
        task_step(task, **options)
    return refused.value.problems


def test_a_task_is_a_step_named_by_its_function():
    made = task_step(charge)
    assert issubclass(made, Step)
    assert (made.__name__, made.key, made.events, made.__doc__, made.__module__) == (
        "charge",
        "charge",
        ("ok",),
        "Charges a card.",
        __name__,
    )
    assert inspect.getsource(made).endswith('return {"paid": amount, "in": currency}\n')


def test_the_options_are_those_of_a_step():
    policy = RetryPolicy(max_attempts=2)
    made = task_step(charge, key="other", event="charged", retry=policy, time_limit=5, queue="q", priority=3)
    assert (made.key, made.events, made.retry, made.time_limit, made.queue, made.priority) == (
        "other",
        ("charged",),
        policy,
        5,
        "q",
        3,
    )


def test_the_arguments_are_those_of_the_initial_context():
    assert execute(task_step(charge), {"amount": 9}) == Completed(
        event="ok", result='{"paid":9,"in":"EUR"}', metadata=None
    )


def test_the_arguments_may_be_computed():
    made = task_step(charge, arguments=lambda context: {"amount": context.initial["total"] * 2}, event="charged")
    assert execute(made, {"total": 4}) == Completed(event="charged", result='{"paid":8,"in":"EUR"}', metadata=None)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ({"a": 1}, '{"a":1}'),
        ({}, None),
        (3, '{"value":3}'),
        (None, '{"value":null}'),
        ("ok", '{"value":"ok"}'),
        ([1], '{"value":[1]}'),
    ],
    ids=range(6),
)
def test_the_result_is_what_the_task_returns(value, result):
    @app.task(shared=False, name=f"returns_{value!r}")
    def returns():
        return value

    assert execute(task_step(returns)) == Completed(event="ok", result=result, metadata=None)


def test_a_value_that_can_not_be_carried_fails_the_step():
    @app.task(shared=False)
    def returns_an_object():
        return object()

    failure = execute(task_step(returns_an_object))
    assert (failure.retry, "step returns_an_object" in failure.message, "context.value" in failure.message) == (
        False,
        True,
        True,
    )


def test_a_bound_task_has_a_request():
    assert execute(task_step(bound, arguments=lambda context: {}), {"n": 1}, attempt=3).result == (
        '{"id":"a-run:bound","retries":2,"kwargs":{},"args":[],"current":"' + bound.name + '","direct":true}'
    )


def test_a_request_ends_with_the_call():
    execute(task_step(bound))
    assert (bound.request.id, celery._state.get_current_task()) == (None, None)


def test_an_exception_is_a_failed_attempt():
    failure = execute(raising(FruitlessError("no card")))
    assert (failure.retry, failure.message, failure.failure["type"]) == (True, "no card", f"{__name__}.FruitlessError")
    assert [frame.name for frame in failure.stacktrace] == ["raises"]


def test_a_retry_of_the_task_is_a_failed_attempt_and_sends_nothing(publishes):
    @app.task(shared=False, bind=True)
    def retries(self):
        try:
            refuse()
        except FruitlessError:
            raise self.retry(countdown=3600) from None

    failure = execute(task_step(retries), attempt=9)
    assert (failure.retry, failure.message) == (
        True,
        f"the task {retries.name} asked for a retry after FruitlessError: no card",
    )
    assert publishes == []


@pytest.mark.parametrize("options", [{}, {"throw": False}, {"max_retries": 0}], ids=str)
def test_a_retry_with_an_exception_is_a_failed_attempt_with_that(options, publishes):
    @app.task(shared=False, bind=True, name=f"retries_with_{len(options)}_{options}")
    def retries_with(self):
        self.retry(exc=FruitlessError("no card"), **options)
        return "not reached"

    failure = execute(task_step(retries_with))
    assert (failure.retry, failure.message, publishes) == (True, "no card", [])


def test_a_retry_without_a_reason_is_a_failed_attempt():
    @app.task(shared=False, bind=True)
    def retries_so(self):
        self.retry()

    failure = execute(task_step(retries_so))
    assert (failure.retry, failure.message) == (True, f"the task {retries_so.name} asked for a retry")


def test_autoretry_for_is_a_failed_attempt_and_sends_nothing(publishes):
    failure = execute(
        raising(FruitlessError("no card"), autoretry_for=(FruitlessError,), retry_backoff=True, max_retries=0)
    )
    assert (failure.retry, failure.message, publishes) == (True, "no card", [])


@pytest.mark.parametrize(
    ("error", "retry", "what"),
    [
        (Ignore(), False, "Ignore"),
        (Ignore("seen before"), False, "Ignore (seen before)"),
        (Reject("no such card"), False, "Reject (no such card)"),
        (Reject("no such card", requeue=True), True, "Reject (no such card)"),
    ],
    ids=range(4),
)
def test_what_asks_celery_to_drop_the_message_fails_the_step(error, retry, what):
    made = raising(error)
    failure = execute(made)
    assert (type(failure), failure.retry, f" raised {what}, which fails its step" in failure.message) == (
        Failed,
        retry,
        True,
    )
    assert type(error).__name__ in failure.text


def test_arguments_that_the_task_does_not_take_fail_the_step_at_once():
    failure = execute(task_step(charge), {"amount": 1, "sum": 2})
    assert (failure.retry, failure.message) == (
        False,
        (
            f"the task {charge.name} can't be called with the arguments that it is given (amount, sum): charge() got an "
            "unexpected keyword argument 'sum'; arguments=... of task_step chooses them, by default all of the initial context"
        ),
    )


def test_missing_arguments_fail_the_step_at_once():
    failure = execute(task_step(count))
    assert (failure.retry, "(none)" in failure.message, "items" in failure.message) == (False, True, True)


def test_a_bound_task_is_checked_without_itself():
    assert execute(task_step(bound), {"self": 1}).retry is False


def test_a_task_without_checks_is_called_as_it_is():
    @app.task(shared=False, typing=False)
    def loose(amount):
        return amount

    assert execute(task_step(loose), {"other": 1}).failure["type"] == "TypeError"


@pytest.mark.parametrize("given", [None, 5, ["amount"], {1: 2}], ids=str)
def test_arguments_that_are_no_mapping_of_names_fail_the_step_at_once(given):
    failure = execute(task_step(charge, arguments=lambda context: given))
    assert (failure.retry, "must give a mapping of names to values" in failure.message) == (False, True)


def test_an_error_of_the_arguments_is_a_failed_attempt():
    failure = execute(task_step(charge, arguments=lambda context: context.initial["total"]))
    assert (failure.retry, failure.failure["type"]) == (True, "KeyError")


class Calling(Task):
    abstract = True
    client = None

    def __call__(self, *args, **kwargs):
        self.calls = getattr(self, "calls", 0) + 1
        kwargs["amount"] += 100
        return self.run(*args, **kwargs)

    def before_start(self, task_id, args, kwargs):
        raise AssertionError("a hook of the task's messages")

    on_success = on_failure = on_retry = after_return = before_start


def test_a_call_of_the_base_class_is_part_of_the_task():
    @app.task(shared=False, base=Calling, bind=True)
    def called(self, amount):
        return {"amount": amount, "id": self.request.id}

    assert execute(task_step(called), {"amount": 1}).result == '{"amount":101,"id":"a-run:called"}'
    assert called.calls == 1  # the task itself, with all that it keeps in this process


def test_a_base_class_that_calls_celerys_own_is_fine(publishes):
    class Super(Task):
        abstract = True

        def __call__(self, *args, **kwargs):
            return super().__call__(*args, **kwargs)

    @app.task(shared=False, base=Super, bind=True)
    def super_called(self, amount):
        if amount:
            self.retry(exc=FruitlessError("no card"))
        return amount

    assert execute(task_step(super_called), {"amount": 0}).result == '{"value":0}'
    assert (execute(task_step(super_called), {"amount": 1}).message, publishes) == ("no card", [])


def test_hooks_of_the_tasks_messages_are_not_called():
    @app.task(shared=False, base=Calling)
    def hooked(amount):
        raise FruitlessError("no card")

    assert execute(task_step(hooked), {"amount": 1}).message == "no card"


def test_a_registered_class_is_a_task():
    class ChargeCard(Task):
        name = "shop.charge_card"

        def run(self, amount):
            return {"paid": amount, "by": self.request.id}

    made = task_step(app.register_task(ChargeCard()))
    assert made.key == "charge_card"
    assert execute(made, {"amount": 5}).result == '{"paid":5,"by":"a-run:charge_card"}'


def test_a_task_with_pydantic_validates_and_dumps():
    class Order(pydantic.BaseModel):
        total: int

    class Receipt(pydantic.BaseModel):
        paid: int

    def pay(order: Order) -> Receipt:
        return Receipt(paid=order.total)

    pay.__annotations__ = {"order": Order, "return": Receipt}
    made = task_step(app.task(pay, shared=False, pydantic=True, name="pay_with_models"))
    assert execute(made, {"order": {"total": 4}}).result == '{"paid":4}'
    assert "total" in execute(made, {"order": {"total": "four"}}).message


def test_a_coroutine_function_is_awaited():
    @app.task(shared=False)
    async def later(amount):
        await asyncio.sleep(0)
        if amount:
            raise Ignore("seen before")
        return amount

    assert execute(task_step(later), {"amount": 0}).result == '{"value":0}'
    assert "raised Ignore (seen before)" in execute(task_step(later), {"amount": 1}).message


def test_a_task_is_made_when_the_step_is_executed_and_not_before():
    other = Celery("later_tasks", set_as_current=False)

    @other.task(shared=False, name="shop.pack-v2")
    def pack(boxes):
        """Packs."""
        return boxes

    made = task_step(pack)
    assert (made.key, made.__doc__, pack.__evaluated__(), other.finalized) == ("pack", "Packs.", False, False)
    assert execute(made, {"boxes": 2}).result == '{"value":2}'


def test_a_shared_task_is_that_of_the_current_application(in_this_test):
    @shared_task
    def shared(n):
        return n + 1

    @shared_task(bind=True, name="shop.named")
    def shared_with_options(self, n):
        """Counts."""
        return self.app.main

    first, second = task_step(shared), task_step(shared_with_options)
    assert (first.key, second.key, second.__doc__) == ("shared", "shared_with_options", "Counts.")
    current = Celery("the_current_one")  # made after the steps
    try:
        assert execute(first, {"n": 1}).result == '{"value":2}'
        assert execute(second, {"n": 1}).result == '{"value":"the_current_one"}'
    finally:
        current.close()


def test_a_shared_task_is_not_evaluated_when_it_is_defined(in_this_test, monkeypatch):
    @shared_task
    def shared_for_later(): ...

    monkeypatch.setattr(celery._state, "get_current_app", lambda: pytest.fail("no application is there yet"))
    assert task_step(shared_for_later).key == "shared_for_later"


def test_what_turns_out_to_be_no_task_fails_the_step():
    def fun(): ...

    failure = execute(task_step(Proxy(lambda: fun and 5)))
    assert (failure.retry, "stands in the place of a task, and is none" in failure.message) == (False, True)


def lambda_like(): ...


class Unregistered(Task):
    """Made by hand, and registered nowhere."""

    def run(self): ...


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (Unregistered(), "the task Unregistered() has no name: use what app.register_task(Unregistered()) returns"),
        (Unregistered, "Unregistered is the class of a task: use what app.register_task(Unregistered()) returns"),
        (charge.run, "charge is a function and no task: put @app.task or @shared_task over it"),
        (charge.s(1), "is a signature: give its task, and its arguments by arguments=..."),
        ("shop.charge", "'shop.charge' (str) is no Celery task"),
        (None, "None (NoneType) is no Celery task"),
        (charge.delay, "is no Celery task"),
        (Done, "Done is a step already"),
        (step(lambda_like), "lambda_like is a step already"),
    ],
    ids=range(9),
)
def test_what_is_no_task_is_refused(value, answer):
    (problem,) = problems_with(value)
    assert answer in problem


def test_the_task_of_a_step_is_refused():
    class StepsTaskFlow(Workflow):
        unique = Unique("order")
        initial_step = Done

    other = Celery("steps_tasks", broker="memory://", set_as_current=False)
    other.conf.update(hephaestus_state_backend="redis://localhost:1")
    with Hephaestus(other):
        other.finalize()
        task = other.tasks[f"{StepsTaskFlow.name}.done"]
        assert problems_with(task) == (f"{task.name} is the task of a step already; use the step itself",)


def test_a_lambda_is_refused():
    other = Celery("lambda_tasks", set_as_current=False)  # which Celery refuses when it makes the task
    assert problems_with(other.task(lambda: 5, shared=False)) == (
        "a lambda can't be a Celery task, since it has no name: write it with def",
    )


def test_every_problem_is_listed():
    assert problems_with(
        charge, arguments=5, events=("a",), kwargs={}, colour=1, event="a b", retry=3, time_limit=0
    ) == (
        "events is no option of task_step; did you mean event?",
        "kwargs is no option of task_step; did you mean arguments?",
        "colour is no option of task_step; options are arguments, key, event, retry, time_limit, queue, priority",
        "arguments must be a function (context) that returns a mapping of keyword arguments, not 5 (int)",
        "step charge: 'a b' can't name an event (a string of 1 to 100 characters without white space or |)",
        "step charge: retry must be a RetryPolicy or None, not 3",
        "step charge: time_limit must be more than nothing, not 0",
    )


async def coroutine(context):
    return {}


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        (lambda *, context: {}, "not <lambda>(*, context)"),
        (lambda a, b: {}, "not <lambda>(a, b)"),
        (coroutine, "is async"),
    ],
)
def test_arguments_that_are_no_function_of_the_context_are_a_problem(arguments, end):
    (problem,) = problems_with(charge, arguments=arguments)
    assert problem.endswith(end)


def test_two_steps_of_one_task_need_keys():
    assert (
        "charge stands here more than once, and each call of task_step makes another step: keep it in a variable, and use that"
    ) in problems_of(initial_step=task_step(charge), transitions={task_step(charge): Done})


def test_a_named_step_calls_the_same_task():
    again = task_step(charge).named("again")
    assert (again.key, execute(again, {"amount": 2}).result) == ("again", '{"paid":2,"in":"EUR"}')


Charge = task_step(charge)
Count = task_step(count, arguments=lambda context: {"items": context.steps["charge"]["in"]})


class TasksFlow(Workflow):
    unique = Unique("order")
    initial_step = Charge
    transitions = {Charge: Count, Count: Done}


def test_tasks_make_a_workflow_on_threads():
    with Hephaestus():
        instance = TasksFlow.start("o1", {"amount": 7}).wait(10)
    assert instance.context.steps == {"charge": {"paid": 7, "in": "EUR"}, "count": {"value": 3}, "done": {}}


def test_tasks_make_a_workflow_in_an_eager_application(publishes):
    eager = Celery("eager_tasks", broker="memory://", set_as_current=False)
    eager.conf.task_always_eager = True
    with Hephaestus(eager):
        instance = TasksFlow.start("o2", {"amount": 7}).wait(10)
        assert (instance.status, instance.context.result(Count), publishes) == ("completed", {"value": 3}, [])
