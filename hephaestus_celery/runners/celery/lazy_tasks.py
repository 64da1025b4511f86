"""Makes what a worker needs of a step's task when its first message comes, not when the worker starts.

A worker's main process and each process of its pool make objects of three to eight kilobytes for every task. For ten
thousand steps that is up to eighty megabytes, most of it never used. Here only those that were made last are kept.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import celery.app.trace

MOST_KEPT = 500
"""Of each kind, in a process: making one takes 20 to 60 microseconds."""

_TRACER = "hephaestus_tracer"


class _Kept:
    """Holders of an attribute that was made, oldest first: one more takes it from the oldest."""

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
    """``__trace__`` of a task: what executes it, made when it is called.

    What Celery makes beforehand is thrown away; what anybody else has put there, or wrapped around it, stays.
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
    """What a worker does with the messages of a task; ``make`` makes it."""

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
