"""Tasks: what is registered on an application, and what of it is another's."""

from __future__ import annotations

import functools
import secrets
import tracemalloc

import pytest
from celery import Celery, Task
from celery.app.trace import build_tracer
from defining import A, a_step, define

from hephaestus_celery import Done, Hephaestus
from hephaestus_celery.runners.celery.lazy_tasks import MOST_KEPT
from hephaestus_celery.runners.celery.registration import register
from hephaestus_celery.runners.celery.task import StepTask


@pytest.fixture
def app(redis_url, namespace):
    """An application with a runtime, which was there before the workflows were."""
    app = Celery("tasks", broker=redis_url, set_as_current=False)
    app.conf.update(hephaestus_state_backend=redis_url, hephaestus_namespace=namespace)
    with Hephaestus(app, name=namespace):
        app.finalize()
        yield app
    app.close()


@pytest.fixture
def name():
    """Names a workflow of this test and of no other."""
    return f"tasks.{secrets.token_hex(6)}"


def test_a_workflow_that_is_defined_anew_replaces_its_tasks(app, name):
    for limit in (3, 5):
        slow = a_step("Slow", "ok", time_limit=limit)
        define(name=name, initial_step=slow, transitions={(slow, "ok"): Done})
        assert app.tasks[f"{name}.slow"].soft_time_limit == limit


def test_the_versions_of_one_name_share_their_tasks(app, name):
    for version in (1, 2):
        define(name=name, version=version, initial_step=A, transitions={(A, "ok"): Done})
    assert isinstance(app.tasks[f"{name}.a"], StepTask)


def test_celery_warns_where_another_task_has_the_name(app, name):
    @app.task(name=f"{name}.a", shared=False)
    def another():
        pass

    with pytest.warns(match="already registered"):
        define(name=name, initial_step=A, transitions={(A, "ok"): Done})


MANY = 2000


def many(name, count=MANY, **attributes):
    """A chain of many steps."""
    steps = [a_step(f"S{number}", "ok", **attributes) for number in range(count)]
    table = {(step, "ok"): after for step, after in zip(steps, [*steps[1:], Done], strict=True)}
    return define(name=name, initial_step=steps[0], transitions=table)


def another_application(redis_url, namespace, **configuration):
    """An application for tasks that nobody executes."""
    app = Celery("another", broker=redis_url, set_as_current=False)
    app.conf.update(hephaestus_state_backend=redis_url, hephaestus_namespace=namespace, **configuration)
    app.finalize()
    return app


@pytest.mark.parametrize("annotations", [None, {"*": {"rate_limit": "9/s"}}], ids=["plain", "annotated"])
def test_a_task_takes_little_memory(redis_url, namespace, name, annotations):
    flow, app = many(name), another_application(redis_url, namespace, task_annotations=annotations)
    tracemalloc.start()
    register(app, None, flow)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / MANY < 800  # bytes; with a class of its own it is seven thousand


@pytest.fixture
def annotated(redis_url, namespace, name):
    """``annotated(settings, **attributes)``: the tasks of a workflow of steps ``s0`` and ``s1``, by their keys."""

    def make(settings, *, kind=None, **attributes):
        app = another_application(redis_url, namespace, task_annotations=settings)
        if kind is not None:
            app.Task = kind
        register(app, None, many(name, 3, **attributes))
        return app, [app.tasks[f"{name}.s{number}"] for number in range(3)]

    return make


def test_an_annotation_is_of_its_task_alone(annotated, name):
    def quiet(run):
        return lambda self, *_: "quiet"

    settings = {
        f"{name}.s0": {"rate_limit": "1/s", "@run": quiet, "expires": 5},
        f"{name}.s1": {"rate_limit": "2/s", "soft_time_limit": 7},
        "*": {"priority": 4},
    }
    _, tasks = annotated(settings, time_limit=3)
    assert [task.rate_limit for task in tasks] == ["1/s", "2/s", None]
    assert [task.expires for task in tasks] == [5, None, None]
    assert [task.soft_time_limit for task in tasks] == [3, 7, 3]
    assert [task.priority for task in tasks] == [4, 4, 4]
    assert tasks[0].run() == "quiet"
    assert tasks[1].run.__func__ is StepTask.run


class AskingAnnotation:
    """An annotation by an object, which Celery hands the class of a task."""

    def annotate(self, task):
        return {"rate_limit": "1/s"} if task.name.endswith("s1") else None

    def annotate_any(self):
        return None


def test_annotations_may_ask_the_class_which_task_it_is_of(annotated):
    _, tasks = annotated([AskingAnnotation()])
    assert [task.rate_limit for task in tasks] == [None, "1/s", None]


def test_what_does_something_with_classes_has_one_for_each_task(annotated):
    bound = []

    class Counted(Task):
        abstract = True

        @classmethod
        def on_bound(cls, app):
            bound.append(cls.name)

    _, tasks = annotated({}, kind=type("Task", (Counted,), {"abstract": True}))
    assert [name for name in bound if not name.endswith(".done")] == [task.name for task in tasks]
    assert len({type(task) for task in tasks}) == len(tasks)


def test_a_task_is_found_and_pickled_by_its_name_and_changed_alone(annotated):
    app, tasks = annotated({})
    tasks[1].rate_limit = "3/s"  # as a remote control command does
    assert [task.rate_limit for task in tasks] == [None, "3/s", None]
    assert [task.step_key for task in tasks] == ["s0", "s1", "s2"]
    assert all(task.app is app and task is app.tasks[task.name] for task in tasks)
    assert [task.__reduce__()[1][0] for task in tasks] == [task.name for task in tasks]


def test_what_executes_a_task_is_made_late_and_the_last_ones_are_kept(app, name):
    many(name, MOST_KEPT + 2)
    tasks = [app.tasks[f"{name}.s{number}"] for number in range(MOST_KEPT + 2)]

    def start():  # as each process of a pool does
        for task in tasks:
            task.__trace__ = build_tracer(task.name, task, app.loader, "a host", app=app)

    def made():
        return [task for task in tasks if vars(task).get("hephaestus_tracer")]

    start()
    assert made() == []
    first = tasks[0].__trace__
    assert first is tasks[0].__trace__
    for task in tasks[1:]:
        assert callable(task.__trace__)
    assert made() == tasks[2:]
    start()
    assert made() == []


def test_what_is_wrapped_around_a_tracer_stays(app, name):
    define(name=name, initial_step=A, transitions={(A, "ok"): Done})
    task = app.tasks[f"{name}.a"]
    inner = task.__trace__

    @functools.wraps(inner)
    def around(*arguments):
        return inner(*arguments)

    task.__trace__ = around
    assert task.__trace__ is around
