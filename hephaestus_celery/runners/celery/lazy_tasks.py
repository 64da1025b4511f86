"""Makes the objects that a worker needs for a step's task at its first message, not when the worker starts.

A worker's main process and each process of its pool make objects of three to eight kilobytes for every task. For ten
thousand steps that is up to eighty megabytes, most of it never used. So only the latest of these objects are kept.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import celery.app.trace

MOST_KEPT = 500
"""The most objects of each kind in a process. Making one takes 20 to 60 microseconds."""

_TRACER = "hephaestus_tracer"


class _Kept:
    """Holders of a made attribute, oldest first. When there are too many, the oldest loses it."""

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute
        self._holders: deque[weakref.ref[Any]] = deque()

    def add(self, holder: Any) -> None:
        self._holders.append(weakref.ref(holder))
        if len(self._holders) > MOST_KEPT:
            oldest = self._holders.popleft()()
            if oldest is not None and oldest is not holder:
                setattr(oldest, self._attribute, None)


class LazyTracer:
    """``__trace__`` of a task: the function that executes it, made when it is called.

    Functions that Celery makes beforehand are dropped. Those of anybody else, wrappers too, stay.
    """

    def __init__(self) -> None:
        self._kept = _Kept(_TRACER)

    def __get__(self, task: Any, _: type | None = None) -> Any:
        if task is None:
            return None
        tracer: Any = getattr(task, _TRACER, None)
        if tracer is None:
            app, trace = task.app, cast("Any", celery.app.trace)
            tracer = trace.build_tracer(task.name, task, app.loader, task.runner.hostname, app=app)
            setattr(task, _TRACER, tracer)
            self._kept.add(task)
        return tracer

    def __set__(self, task: Any, tracer: Any) -> None:
        setattr(task, _TRACER, None if _is_celerys(tracer) else tracer)


def _is_celerys(tracer: Any) -> bool:
    return (
        isinstance(tracer, FunctionType)
        and tracer.__globals__.get("__name__") == celery.app.trace.__name__
        and "__wrapped__" not in vars(tracer)
    )


class LazyStrategy:
    """Celery's strategy for the messages of a task, made by ``make`` when it is needed."""

    __slots__ = ("__weakref__", "_act", "_make")

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self._make = make
        self._act: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        act = self._act
        if act is None:
            act = self._act = self._make()
            _RECEIVING.add(self)
        return act(*arguments, **options)


_RECEIVING = _Kept("_act")
