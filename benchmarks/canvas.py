"""Celery's side: the same work as tasks, with Celery's default settings, and as a team that fears for its tasks has them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from celery import Celery, chain, chord
from celery.result import AsyncResult

from benchmarks import marks
from benchmarks.settings import URL_VARIABLE
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.connections import Connections


class Canvas:
    """The tasks of an application, and the canvases that are made of them."""

    def __init__(self, app: Celery) -> None:
        register: Any = app.task  # its stubs know nothing of the decorated function
        self._step = register(_step, name="bench.step")
        self._last = register(_last, name="bench.last")
        self._late_step = register(_step, name="bench.late_step", acks_late=True)
        self._late_last = register(_last, name="bench.late_last", acks_late=True)
        self._bare = register(_bare, name="bench.bare", ignore_result=True)
        self._asking = register(_asking, name="bench.asking", ignore_result=True, acks_late=True)

    def chain(
        self, length: int, *, mark: int | None = None, late: bool = False, queue: str | None = None
    ) -> AsyncResult:
        """Send a chain of so many tasks."""
        step, last = (self._late_step, self._late_last) if late else (self._step, self._last)
        tasks = [*(step.s() for _ in range(length - 1)), last.s(mark=mark)]
        sent: Any = chain(*tasks).apply_async(queue=queue)
        return sent

    def chains(self, length: int, marked: Sequence[int], *, late: bool = False) -> None:
        """Send a chain for each mark."""
        for mark in marked:
            self.chain(length, mark=mark, late=late)

    def chord(self, width: int, *, mark: int | None = None, late: bool = False) -> AsyncResult:
        """Send a chord with a header of so many tasks."""
        step, last = (self._late_step, self._late_last) if late else (self._step, self._last)
        sent: Any = chord([step.s(number) for number in range(width)])(last.s(mark=mark))
        return sent

    def bare(self, marked: Sequence[int]) -> None:
        """Send single tasks that keep no result, one for each mark."""
        for mark in marked:
            self._bare.delay(mark)

    def asking(self, marked: Sequence[int]) -> None:
        """Send single tasks that ask the server twice, which is the least that a step has to do: see ``_asking``."""
        for mark in marked:
            self._asking.delay(mark)


def _step(previous: Any = None) -> int:
    return 1


def _last(previous: Any = None, mark: int | None = None) -> int:
    if mark is not None:
        marks.set_mark(mark)
    return 1


def _bare(mark: int) -> None:
    marks.set_mark(mark)


def _asking(mark: int) -> None:
    for _ in range(2):
        _connections().call("PING", fits=bool)
    marks.set_mark(mark)


@cache
def _connections() -> Connections:
    # The product's own connection, since no other asks with less.
    client = connect(os.environ[URL_VARIABLE], timeout=timedelta(seconds=2), options={})
    return Connections(client, most=1, timeout=2)
