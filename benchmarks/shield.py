"""Ctrl-C, SIGTERM and a closed terminal end a benchmark; never in the midst of starting or stopping a process."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class _Shield:
    depth = 0
    struck = False


def install() -> None:
    """From now on those signals raise ``KeyboardInterrupt``, or do so at the end of a :func:`shielded` block."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _strike)


@contextmanager
def shielded() -> Generator[None]:
    """Put a signal off until the block has ended: what it starts is by then known to who stops it."""
    _Shield.depth += 1
    try:
        yield
    finally:
        _Shield.depth -= 1
    if _Shield.struck and not _Shield.depth:
        _Shield.struck = False
        raise KeyboardInterrupt


def _strike(_number: int, _frame: FrameType | None) -> None:
    if _Shield.depth:
        _Shield.struck = True
    else:
        raise KeyboardInterrupt
