"""Hooks as an application adds them, and a workflow whose steps say what they see of them."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

from hephaestus_celery import Done, Ok, Step, Unique, Workflow

TRACE: ContextVar[str | None] = ContextVar("TRACE", default=None)
"""What is traced where a run is started."""
ATTEMPT: ContextVar[str | None] = ContextVar("ATTEMPT", default=None)
"""The attempt that is executed, with the trace that its run was started in."""


def add_to(hephaestus):
    """Add both hooks to a runtime."""
    hephaestus.hooks.on_start(carry_trace)
    hephaestus.hooks.around_attempt(note_attempt)


def carry_trace(headers):
    """Carry the trace of who starts a run."""
    if TRACE.get() is not None:
        headers["trace"] = TRACE.get()


@contextmanager
def note_attempt(attempt):
    """Keep in a context variable what is executed."""
    token = ATTEMPT.set(f"{attempt.step.key} {attempt.number} {attempt.headers.get('trace')}")
    try:
        yield
    finally:
        ATTEMPT.reset(token)


class Plain(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        return Ok("ok", {"seen": ATTEMPT.get()})


class Awaited(Step):
    events = ("ok",)

    async def execute(self, instance, config, context):
        return Ok("ok", {"seen": ATTEMPT.get()})


class Hooked(Workflow):
    name = "hooked"
    unique = Unique("hookedid", scope="none")
    initial_step = Plain
    transitions = {(Plain, "ok"): Awaited, (Awaited, "ok"): Done}
