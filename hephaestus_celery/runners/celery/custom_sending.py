"""Whether an application sends messages in a way of its own: overridden methods, signal receivers, routers.

If it does not, the messages of one step differ only by their ids. Packages for tenants, tracing agents and signal receivers
add data of the sender to each message. They may come and go while a process lives. So each message is checked: are
Celery's and kombu's own functions still in place?
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
    """Whether Celery alone makes the messages of the tasks with these names, in this process and at this moment."""
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
    # A receiver may change each message, and expects to be called for each.
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
    # A wrapper copies the name and docstring of the function that it wraps, but not its type, module or code.
    return (
        type(function) is FunctionType
        and function.__globals__ is vars(module)
        and function.__code__.co_name == name
        and "__wrapped__" not in vars(function)
    )
