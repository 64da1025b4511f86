"""How a telemetry event describes an exception. What is stored of one: ``runners/step_exceptions.py``."""

from __future__ import annotations

import traceback
from typing import Literal, TypeAlias

FailureKind: TypeAlias = Literal["error", "exit", "throw"]


def kind_of(exception: BaseException) -> FailureKind:
    """``error`` for an exception, ``exit`` for ``SystemExit``, ``throw`` for any other ``BaseException``."""
    if isinstance(exception, Exception):
        return "error"
    return "exit" if isinstance(exception, SystemExit) else "throw"


def stacktrace_of(exception: BaseException) -> list[traceback.FrameSummary]:
    """The frames that the exception came through, outermost first; empty where it was never raised."""
    return list(traceback.extract_tb(exception.__traceback__))
