"""Exceptions that a signal raises while a handler runs: they are not the handler's failure.

Python's signal handlers run in the main thread, between any two of its operations. Ctrl-C, the SystemExit of a SIGTERM and
Celery's soft time limit are raised that way. A telemetry handler that happens to run at that moment has done nothing wrong.
"""

from __future__ import annotations

import linecache
import re
import signal
import threading
import traceback
from collections.abc import Iterator
from types import CodeType

_RAISE = re.compile(rb"\s*raise\b")


def is_interruption(failure: BaseException) -> bool:
    """Whether the exception came from a signal that struck while a handler ran, not from the handler."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if isinstance(failure, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return not _is_raised_by_statement(failure)
    codes = set(_signal_handler_codes())
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(failure.__traceback__))


def _is_raised_by_statement(failure: BaseException) -> bool:
    # The default handler of Ctrl-C is written in C and leaves no frame. So the source decides: what was executed last is
    # a `raise`, or the exception came from outside. Without a source, the exception counts as one that asks the process to stop.
    last = traceback.extract_tb(failure.__traceback__)[-1]
    line = linecache.getline(last.filename, last.lineno or 0).encode()
    return _RAISE.match(line, last.colno or 0) is not None


def _signal_handler_codes() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        code = getattr(signal.getsignal(number), "__code__", None)
        if isinstance(code, CodeType):
            yield code
