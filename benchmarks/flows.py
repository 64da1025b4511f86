"""Our side: workflows whose steps do nothing but give a small result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import marks
from hephaestus_celery import Done, Ok, Step, Unique, Workflow

RESULT = {"value": 1}


class Work(Step):
    """Does nothing."""

    events = ("ok",)

    def execute(self, instance: Any, config: Any, context: Any) -> Ok:
        return Ok("ok", RESULT)


class Last(Step):
    """Does nothing, and sets a mark where the run was started with one."""

    events = ("ok",)

    def execute(self, instance: Any, config: Any, context: Any) -> Ok:
        number = context.initial.get("mark")
        if number is not None:
            marks.set_mark(number)
        return Ok("ok", RESULT)


def _chain(length: int) -> type[Workflow]:
    steps = [*(Work.named(f"step{number}") for number in range(1, length)), Last]
    return _workflow(
        f"chain{length}", steps[0], dict(zip([(step, "ok") for step in steps], [*steps[1:], Done], strict=True))
    )


def _fan_out(width: int) -> type[Workflow]:
    first = Work.named("fan_out")
    branches: Sequence[type[Step]] = [Work.named(f"branch{number}") for number in range(width)]
    joined = {(branch, "ok"): Last for branch in branches}
    return _workflow(f"fan_out{width}", first, {(first, "ok"): list(branches), **joined, (Last, "ok"): Done})


def _workflow(name: str, initial_step: type[Step], transitions: dict[Any, Any]) -> type[Workflow]:
    body = {
        "__module__": __name__,
        "name": f"bench.{name}",
        "unique": Unique("bench"),
        "initial_step": initial_step,
        "transitions": transitions,
    }
    return type(name, (Workflow,), body)


CHAINS = {length: _chain(length) for length in (1, 5, 10, 20, 100, 500)}
"""Steps one after the other, by their number; ``Done`` comes in addition, and costs no message."""

FAN_OUTS = {width: _fan_out(width) for width in (10, 100, 1000)}
"""A step, so many side by side, a step that waits for all of them."""
