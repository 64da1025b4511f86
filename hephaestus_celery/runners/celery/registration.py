"""Registers a Celery task for each step of a workflow.

Ten thousand task classes, with the objects that a worker makes for each at its start, take a hundred megabytes in every
process. So tasks of a workflow with the same time limit and annotations share a class. The name and other differences
are attributes of the task itself. If the application's own base class of tasks works with classes, each step has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import celery.app.task
from celery import Celery
from celery.app.annotations import MapAnnotation, resolve_all

from hephaestus_celery.runners.celery.dispatch import HARD_MARGIN
from hephaestus_celery.runners.celery.task import StepTask, TaskRunner
from hephaestus_celery.runners.known_steps import limit

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.graph import StepClass
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

_OF_CLASSES = (
    "__call__",
    "__init__",
    "__init_subclass__",
    "__new__",
    "_get_app",
    "add_around",
    "annotate",
    "bind",
    "on_bound",
)
"""Attributes that Celery calls on a class, or that instrumentation replaces in it."""


def register(app: Celery, runner: TaskRunner, workflow: type[WorkflowDefinition]) -> None:
    """Register a task for each step of a workflow on an application.

    ``Done`` has one too: it is executed where it comes first, or where a retry or a fork has nothing else left to run. Versions
    of one name share their tasks. A task of ours is replaced silently; if it is any other, Celery warns.
    """
    make = _TaskMaker(app, runner, workflow)
    for step in workflow.graph.by_key.values():
        task = make.task(step)
        if isinstance(app.tasks.get(task.name), StepTask):
            del app.tasks[task.name]
        app.register_task(task)


def task_name(workflow: type[WorkflowDefinition], step: StepClass) -> str:
    """The name of a step's task in Celery: in routes, annotations, rate limits and monitors."""
    return f"{workflow.name}.{step.key}"


class _SharedTask(StepTask):
    """A class of tasks that differ only in their own attributes."""

    abstract = True
    of_all: Sequence[Mapping[str, Any]]
    """The annotations that all these tasks have."""

    @classmethod
    def bind(cls, app: Celery) -> Celery:
        # Celery calls it on each task, but it changes their class.
        if not (vars(cls).get("__bound__") and vars(cls).get("_app") is app):
            super().bind(app)
        return app

    @classmethod
    def annotate(cls) -> None:
        # Celery's own method would apply the annotations of the one task whose name this class has.
        for found in cls.of_all:
            for name, value in found.items():
                if name.startswith("@"):
                    cls.add_around(name[1:], value)
                else:
                    setattr(cls, name, value)


class _TaskMaker:
    """Makes the tasks of one workflow's steps."""

    def __init__(self, app: Celery, runner: TaskRunner, workflow: type[WorkflowDefinition]) -> None:
        self._app: Any = app  # the stubs lack half of it
        self._runner, self._workflow = runner, workflow
        self._annotations: Sequence[Any] = self._app.annotations
        self._may_share = _may_be_shared(self._app.Task, self._annotations)
        self._classes: dict[tuple[object, ...], type[StepTask]] = {}

    def task(self, step: StepClass) -> StepTask:
        """The task of a step."""
        name = task_name(self._workflow, step)
        if not self._may_share:
            own = {"name": name, "step_key": step.key, "__doc__": step.__doc__}
            return self._make(StepTask, step.__name__, step, own)()
        annotations = self._annotations_of(name)
        # Values are compared by identity. Equal values that are not identical only cost one more class.
        values = tuple(tuple((name, id(value)) for name, value in each.items()) for each in annotations)
        kind = (step.__module__, limit(step), values)
        shared = self._classes.get(kind)
        if shared is None:
            shared = self._make(_SharedTask, self._workflow.__name__, step, {"of_all": annotations})
            self._classes[kind] = shared
        task = shared()
        task.name, task.step_key, task.__doc__ = name, step.key, step.__doc__
        return task

    def _annotations_of(self, name: str) -> Sequence[Mapping[str, Any]]:
        return list(cast("Any", resolve_all)(self._annotations, SimpleNamespace(name=name)))

    def _make(self, kind: type[StepTask], name: str, step: StepClass, own: Mapping[str, Any]) -> type[StepTask]:
        options: dict[str, Any] = {
            **own,
            "runner": self._runner,
            "workflow_name": self._workflow.name,
            "__module__": step.__module__,
        }
        # A message names queue, priority and time limit. Celery deprecates the first two as attributes of tasks, and the
        # limit may differ between versions. A sender that does not know the step leaves the limit to the task.
        soft = limit(step)
        if soft is not None:
            options["soft_time_limit"] = soft
            options["time_limit"] = soft + HARD_MARGIN
        return type(f"{name}Task", (kind, self._app.Task), options)


def _may_be_shared(base: type, annotations: Sequence[Any]) -> bool:
    """Whether one class with this base may serve many tasks: only Celery asks it which task it is."""
    own = [each for each in base.__mro__ if each not in (celery.app.task.Task, object)]
    return (
        type(base) is type
        and not any(name in vars(each) for each in own for name in _OF_CLASSES)
        and all(type(each) is MapAnnotation for each in annotations)
    )
