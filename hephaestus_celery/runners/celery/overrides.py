"""Whether an application sends messages as Celery does, with nothing of its own on the way.

Only then are the messages of one step all alike but for their ids. Packages for tenants, agents that trace and signal
receivers put something of the sender's surroundings into each message, and may come and go while a process lives: so it is
looked at each time, by what stands where Celery's and kombu's own functions were.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType, MethodType
from typing import Any, cast

import celery.app.amqp
import celery.app.base
import celery.app.routes
import celery.app.task
import kombu.messaging
from celery import Celery, signals

_PUBLISHING = ("publish", "_publish", "_prepare")
_CALLING = ("apply_async", "_get_exec_options", "shadow_name")


def is_unmodified(app: Celery, names: Iterable[str]) -> bool:
    """Whether nothing but Celery itself has a say in the messages of the tasks with these names, where it is asked."""
    amqp: Any = app.amqp
    return (
        not _observed()
        and _is_celerys(app, "send_task", celery.app.base)
        and all(_is_own(kombu.messaging.Producer, name, kombu.messaging) for name in _PUBLISHING)
        and _is_their_function(amqp.send_task_message, "send_task_message", celery.app.amqp)
        and _is_their_method(amqp.create_task_message, celery.app.amqp)
        and _routes_by_name(amqp.router)
        and all(_is_unmodified_task(app, name) for name in names)
    )


def find_task(app: Celery, name: str) -> Any:
    """The task of this name, with the application's annotations; None where this process has none."""
    unsettled: Any = app  # the stubs lack half of it
    registry = unsettled.tasks if unsettled.finalized or unsettled.autofinalize else vars(app)["_tasks"]
    return registry.get(name)


def is_unmodified_producer(producer: Any) -> bool:
    """Whether this is a producer as kombu makes them."""
    return all(_is_celerys(producer, name, kombu.messaging) for name in _PUBLISHING)


def _observed() -> bool:
    # Whoever listens to these may change each message, and is told of each message: Celery's way, one by one.
    return bool(
        signals.before_task_publish.receivers or signals.after_task_publish.receivers or signals.task_sent.receivers
    )


def _routes_by_name(router: Any) -> bool:
    return _is_celerys(router, "route", celery.app.routes) and all(
        type(route) is celery.app.routes.MapRoute for route in router.routes
    )


def _is_unmodified_task(app: Celery, name: str) -> bool:
    task = find_task(app, name)
    return task is None or all(_is_celerys(task, function, celery.app.task) for function in _CALLING)


def _is_celerys(thing: Any, name: str, module: Any) -> bool:
    return name not in vars(thing) and _is_own(cast("Any", type(thing)), name, module)


def _is_own(owner: type, name: str, module: Any) -> bool:
    return _is_their_function(getattr(owner, name, None), name, module)


def _is_their_method(method: Any, module: Any) -> bool:
    return type(method) is MethodType and method.__func__.__globals__ is vars(module)


def _is_their_function(function: Any, name: str, module: Any) -> bool:
    # What stands in for a function says in all else that it is that one: its type, or where it was defined, tells.
    return (
        type(function) is FunctionType
        and function.__globals__ is vars(module)
        and function.__code__.co_name == name
        and "__wrapped__" not in vars(function)
    )
