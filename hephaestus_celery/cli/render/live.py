"""A terminal that is drawn in place: frames on its alternate screen, which is given back as it was."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import click

from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.clock import SYSTEM_CLOCK

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"  # alternate screen, no cursor, no wrapping
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GLANCE_SECONDS = 0.05

Frame = Callable[[Screen, int], None]
"""Shows a frame on the screen that it is given, which has so many lines."""


class Stopped(KeyboardInterrupt):
    """A signal wants the command to end, wherever it is: it may wait for a store that does not answer."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.is_ctrl_c = number == signal.SIGINT
        self.exit_code = 128 + number
        """What a shell expects of a program that this signal has ended."""


class LiveTerminal:
    """A terminal whose alternate screen shows frames, one at a time; see :func:`live_terminal`."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def size(self) -> tuple[int, int]:
        """Columns and lines, now."""
        try:
            found = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            found = shutil.get_terminal_size()
        return max(found.columns, 1) if found.columns else 80, found.lines or 24

    def draw(self, frame: Frame) -> None:
        """Draw a frame over the one before, with one write; lines for which there is no room are counted on the last."""
        width, height = self.size()
        lines = list[str]()
        screen = replace(self._screen, width=width, write=lines.append)
        frame(screen, height)
        if len(lines) > height:
            more = f"{len(lines) - height + 1:,} more lines"
            lines[height - 1 :] = [screen.styled(more[:width], "dim")]
        drawn = "\r\n".join(f"\x1b[K{line}" for line in lines)
        rest = "\r\n\x1b[J" if len(lines) < height else ""
        _write(f"\x1b[H{drawn}{rest}")

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the size of the window changes."""
        before, end = self.size(), SYSTEM_CLOCK.monotonic_ns() + int(seconds * 1e9)
        while SYSTEM_CLOCK.monotonic_ns() < end and self.size() == before:
            SYSTEM_CLOCK.sleep(_GLANCE_SECONDS)


@contextmanager
def live_terminal(screen: Screen) -> Generator[LiveTerminal]:
    """The terminal, live: Ctrl-C, SIGTERM and SIGHUP raise :class:`Stopped` within the block, and Ctrl-Z lets go of it.

    For the main thread. Whatever ends the block, the terminal is as it was before.
    """
    previous = {number: signal.signal(number, _stop) for number in _ENDING}
    previous[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, _suspend)
    try:
        _write(_ENTER)
        yield LiveTerminal(screen)
    finally:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not keep the rest from being done
        _write(_LEAVE)
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def signals_as_exit_codes(context: click.Context) -> Generator[None]:
    """End the command as shells expect it of a program that Ctrl-C or another signal has ended."""
    try:
        yield
    except Stopped as stopped:
        context.exit(stopped.exit_code)
    except KeyboardInterrupt:
        context.exit(128 + signal.SIGINT)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def _suspend(_number: int, _frame: FrameType | None) -> None:
    _write(_LEAVE)
    os.kill(os.getpid(), signal.SIGSTOP)  # until the shell wants it to go on
    _write(_ENTER)


def _write(text: str) -> None:
    sys.stdout.flush()
    rest = text.encode(sys.stdout.encoding or "utf-8", "backslashreplace")
    while rest:
        rest = rest[os.write(sys.stdout.fileno(), rest) :]
