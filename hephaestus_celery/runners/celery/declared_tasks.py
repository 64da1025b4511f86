"""What a Celery task is declared as, read without making it: a task that is made later needs its application for that."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast

from celery.app.task import Task
from celery.canvas import Signature
from celery.local import PromiseProxy, Proxy

from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.values.formatting import named, shown
from hephaestus_celery.exceptions import NonRetryableError
from hephaestus_celery.runners.celery.task import StepTask


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredTask:
    """A task by its function, or by its class."""

    title: str
    """The name of its function or class."""
    module: str
    doc: str | None
    function: FunctionType | None


def read(task: object) -> DeclaredTask | str:
    """What a task is declared as, or why the value can't be a step: a sentence."""
    kind: type[Any] = type(task)  # isinstance() would make a task that is made later
    if issubclass(kind, Proxy):
        function = _function_of(task)
        return read(_behind(task)) if function is None else _of_function(function)
    if not issubclass(kind, Task):
        return _no_task(task)
    made = cast("Any", task)
    if issubclass(kind, StepTask):
        return f"{made.name} is the task of a step already; use the step itself"
    if not made.name:
        return f"the task {kind.__name__}() has no name: use what app.register_task({kind.__name__}()) returns"
    run = inspect.unwrap(getattr(made.run, "__func__", made.run))
    function = run if isinstance(run, FunctionType) else None
    return DeclaredTask(title=str(kind.__name__), module=kind.__module__, doc=made.__doc__, function=function)


def made(task: object) -> Any:
    """The task itself, bound to its application; a task of all applications is that of the current one."""
    found: Any = task
    if issubclass(type(task), Proxy):
        found = _behind(found)
    if not issubclass(type(found), Task):
        raise NonRetryableError(f"{named(found)} stands in the place of a task, and is none")
    _ = found.app  # binds a task that was not used before
    return found


def _behind(proxy: Any) -> Any:
    return proxy._get_current_object()  # noqa: SLF001 - the method that Celery documents for this


def _function_of(proxy: Any) -> FunctionType | None:
    """The function of a task that is made later; None if it is made already, or can't be seen."""
    if issubclass(type(proxy), PromiseProxy) and proxy.__evaluated__():
        return None
    local = object.__getattribute__(proxy, "_Proxy__local")
    given = object.__getattribute__(proxy, "_Proxy__args")
    # `app.task` keeps the function as an argument of what makes the task, and `shared_task` in its closure.
    within: Mapping[str, object] = inspect.getclosurevars(local).nonlocals if isinstance(local, FunctionType) else {}
    found = given[0] if given else within.get("fun")
    return found if isinstance(found, FunctionType) else None


def _of_function(function: FunctionType) -> DeclaredTask | str:
    if function.__name__ == "<lambda>":
        return "a lambda can't be a Celery task, since it has no name: write it with def"
    return DeclaredTask(title=function.__name__, module=function.__module__, doc=function.__doc__, function=function)


def _no_task(value: object) -> str:
    if isinstance(value, type) and issubclass(value, Task):
        return f"{value.__name__} is the class of a task: use what app.register_task({value.__name__}()) returns"
    if isinstance(value, type) and issubclass(value, Step):
        return f"{value.__name__} is a step already"
    if isinstance(value, Signature):
        return f"{shown(cast('object', value))} is a signature: give its task, and its arguments by arguments=..."
    if isinstance(value, FunctionType):
        return f"{value.__name__} is a function and no task: put @app.task or @shared_task over it, or make it a step with @step"
    return f"{named(cast('object', value))} is no Celery task"
