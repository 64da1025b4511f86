"""Starts and stops the threads of a worker with its consumer, however that worker was started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from celery import bootsteps
from celery.bootsteps import StartStopStep

_ENDS = (cast("Any", bootsteps).CLOSE, cast("Any", bootsteps).TERMINATE)  # not in the stubs


def consumer_step(name: str, *, begin: Callable[[Any], None], end: Callable[[], None]) -> type[StartStopStep]:
    """A step for the blueprint of an application's consumers.

    ``begin(consumer)`` is called each time that a consumer has connected, and ``end()`` when it stops for good. ``name`` is
    different for each runtime of an application. The signal ``worker_ready`` is no substitute: a worker of
    ``celery.contrib.testing`` does not send it.
    """

    class Attendant(StartStopStep):
        requires = ("celery.worker.consumer:Tasks",)

        def start(self, parent: Any) -> None:
            begin(parent)

        def stop(self, parent: Any) -> None:
            if parent.blueprint.state in _ENDS:  # otherwise it reconnects and goes on
                end()

        terminate = stop

    Attendant.name = name
    return Attendant
