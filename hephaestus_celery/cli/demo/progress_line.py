"""The progress of the demo: one line that is rewritten on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import shutil
import sys

import click

from hephaestus_celery.clock import SYSTEM_CLOCK

PLAIN_SECONDS = 2.0
_CLEAR = "\r\x1b[2K"


class Progress:
    """Writes to standard output; lines that shall stay are written with :meth:`say`."""

    def __init__(self) -> None:
        self._rewrites = sys.stdout.isatty()
        self._began = SYSTEM_CLOCK.monotonic_ns()
        self._written = ""
        self._written_at = 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (SYSTEM_CLOCK.monotonic_ns() - self._began) / 1e9

    def show(self, text: str) -> None:
        """Show where things stand, in place of what was shown before."""
        line = f"[{self.seconds:5.1f} s] {text}"
        if self._rewrites:
            width = shutil.get_terminal_size().columns
            click.echo(_CLEAR + line[: width - 1], nl=False)
        elif text != self._written and SYSTEM_CLOCK.monotonic_ns() - self._written_at > PLAIN_SECONDS * 1e9:
            click.echo(line)
            self._written_at = SYSTEM_CLOCK.monotonic_ns()
        self._written = text

    def say(self, text: str) -> None:
        """Write a line that stays."""
        click.echo(f"{_CLEAR if self._rewrites and self._written else ''}[{self.seconds:5.1f} s] {text}")
        self._written = ""

    def close(self) -> None:
        """Remove what was shown last; what was said stays."""
        if self._rewrites and self._written:
            click.echo(_CLEAR, nl=False)
            self._written = ""
