"""What the rows of a benchmark share: its scale, and one stage for all that need no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self, TypeVar

from benchmarks.contest import Contest
from benchmarks.scale import Scale
from benchmarks.stage import Stage

Kept = TypeVar("Kept")


class Bench:
    """Everything that is started in the ``with`` block is stopped when it ends."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self._resources = contextlib.ExitStack()
        self._kept: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @contextmanager
    def stage(self) -> Generator[Stage]:
        """The stage of all rows, started when it is first asked for; it is handed out empty."""
        stage = self.keep("stage", Stage)
        stage.clean()
        yield stage

    def keep(self, name: str, make: Callable[[], AbstractContextManager[Kept]]) -> Kept:
        """What several rows use: made by who asks first, kept until the end."""
        if name not in self._kept:
            self._kept[name] = self._resources.enter_context(make())
        return self._kept[name]


Row = Callable[[Bench], AbstractContextManager[Contest]]
"""A line of the budget table: sets up what its contest needs, and takes it down after it."""
