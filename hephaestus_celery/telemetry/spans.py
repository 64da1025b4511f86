"""Spans: the start of something, and its end or its exception, as events with one prefix."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from hephaestus_celery.clock import SYSTEM_CLOCK, Clock
from hephaestus_celery.telemetry.event_dispatcher import execute
from hephaestus_celery.telemetry.exception_fields import kind_of, stacktrace_of
from hephaestus_celery.telemetry.handlers import EventName, checked_name


@contextmanager
def span(
    prefix: EventName, metadata: Mapping[str, Any] | None = None, *, clock: Clock = SYSTEM_CLOCK
) -> Generator[dict[str, Any]]:
    """Emit ``prefix + ("start",)``, run the body, then emit ``prefix + ("stop",)`` or ``prefix + ("exception",)``.

    start measures ``system_time`` and ``monotonic_time``, the other two ``duration`` and ``monotonic_time``, in
    nanoseconds. The body gets a copy of ``metadata``; what it adds there goes along with stop or exception. An
    exception of the body is emitted with ``kind``, ``reason`` and ``stacktrace``, and goes on. All events of one span
    carry the same ``telemetry_span_context``: the caller's where ``metadata`` has one, else a unique object.
    """
    checked_name(prefix)
    context = {"telemetry_span_context": object(), **(metadata or {})}
    span_context = {"telemetry_span_context": context["telemetry_span_context"]}
    stopped: dict[str, Any] = dict(metadata or {})
    began = clock.monotonic_ns()
    execute((*prefix, "start"), {"system_time": clock.time_ns(), "monotonic_time": began}, context, clock=clock)
    try:
        yield stopped
    except BaseException as reason:  # the body is the caller's code: whatever ends it is emitted, and passed on
        ended = clock.monotonic_ns()
        failure = {"kind": kind_of(reason), "reason": reason, "stacktrace": stacktrace_of(reason)}
        measurements = {"duration": ended - began, "monotonic_time": ended}
        execute((*prefix, "exception"), measurements, {**stopped, **span_context, **failure}, clock=clock)
        raise
    ended = clock.monotonic_ns()
    measurements = {"duration": ended - began, "monotonic_time": ended}
    execute((*prefix, "stop"), measurements, {**stopped, **span_context}, clock=clock)
