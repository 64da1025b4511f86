"""Ctrl-C, SIGTERM and a closed terminal: a command asks whether they came, and raises nothing in between.

An exception in the moment between the start of a process and the note that it was started would leave it behind. So a
signal only raises a flag, and :class:`Interrupted` is raised where everything is accounted for. Signals that come while
things are being stopped change nothing: stopping has deadlines of its own.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Self

from hephaestus_celery.clock import SYSTEM_CLOCK

EXIT_CODE = 130
"""What a shell expects of a program that Ctrl-C has stopped."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GLANCE_SECONDS = 0.05


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The user wants it to end."""


class Interruption:
    """Catches the signals while the ``with`` block runs; for the main thread."""

    def __init__(self) -> None:
        self._requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise :class:`Interrupted` if a signal has come."""
        if self._requested:
            raise Interrupted

    def wait(self, seconds: float) -> None:
        """Wait so long, less if a signal comes: then :class:`Interrupted` is raised."""
        end = SYSTEM_CLOCK.monotonic_ns() + int(seconds * 1e9)
        self.check()
        while SYSTEM_CLOCK.monotonic_ns() < end:
            SYSTEM_CLOCK.sleep(_GLANCE_SECONDS)
            self.check()

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
