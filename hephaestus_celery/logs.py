"""Log context: every record that is logged while a step executes says which step of which run that is.

::

    handler.addFilter(hephaestus_celery.logs.ContextFilter())

The filter goes on handlers: a filter of a logger sees no records of the loggers below it. It costs nothing where it is not
used, and is the same on all pools: the thread or greenlet that executes a step knows the step, an ``async def`` step does,
and so does a thread that is started within a copy of the step's ``contextvars``.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

FIELDS: Final = ("instance_id", "run_id", "workflow", "step", "attempt", "trace_id")
"""The attributes that records get."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE = "0" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """The step that is executed: of which run, and in which attempt."""

    instance_id: str
    run_id: str
    workflow: str
    step: str
    attempt: int
    headers: Mapping[str, Any]
    """Those that every message of the run carries; one may be its ``traceparent``."""


current_step: ContextVar[StepContext | None] = ContextVar("current_step", default=None)
"""The step that is executed here; the engine sets it."""


class ContextFilter(logging.Filter):
    """Gives every record ``instance_id``, ``run_id``, ``workflow``, ``step``, ``attempt`` and ``trace_id``; lets all pass.

    ``workflow`` is the stored name of the workflow, ``step`` the key of the step, ``attempt`` its number, from 1. ``trace_id``
    is that of the current span of OpenTelemetry (32 hexadecimal digits), where there is one, else that of the run's header
    ``traceparent``. A field that means nothing at the moment is None, so a format may name it always. What a record has by
    itself is kept: that of a log call's ``extra``, and what the log handler of the telemetry says of another run.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields to a record."""
        told = getattr(record, "run_id", None)
        found = context()
        if told is not None and told != found["run_id"]:
            found = dict.fromkeys(FIELDS)
        for name, value in found.items():
            if getattr(record, name, None) is None:
                setattr(record, name, value)
        return True


def context() -> dict[str, Any]:
    """The six fields as they are here and now, each None where it means nothing; for libraries that know no filters."""
    step = current_step.get()
    if step is None:
        return {**dict.fromkeys(FIELDS), "trace_id": _trace_of_span()}
    return {
        "instance_id": step.instance_id,
        "run_id": step.run_id,
        "workflow": step.workflow,
        "step": step.step,
        "attempt": step.attempt,
        "trace_id": _trace_of_span() or _trace_of_headers(step.headers),
    }


def _trace_of_span() -> str | None:
    # Who has a span has imported it; while it is being imported, there is none.
    current = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if current is None:
        return None
    span = current().get_span_context()
    return format(span.trace_id, "032x") if span.is_valid else None


def _trace_of_headers(headers: Mapping[str, Any]) -> str | None:
    given = headers.get("traceparent")
    found = _TRACEPARENT.fullmatch(given) if isinstance(given, str) else None
    return None if found is None or found[1] == _NO_TRACE else found[1]
