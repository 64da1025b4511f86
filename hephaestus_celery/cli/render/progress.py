"""The progress of a command about many: a line on a terminal's standard error that is rewritten, and then taken away."""

from __future__ import annotations

import shutil
import sys

import click

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.reports.text import fitted

_CLEAR = "\r\x1b[K"
_GLANCE = 100_000_000  # nanoseconds between two lines


class ProgressLine:
    """Called with a count. ``shows`` says whether anybody sees it: elsewhere nothing is written."""

    def __init__(self) -> None:
        self.shows = sys.stderr.isatty()
        self.count = 0
        self.total: int | None = None
        self._written_at = 0

    def __call__(self, count: int) -> None:
        """So many were handled."""
        self.count = count
        now = SYSTEM_CLOCK.monotonic_ns()
        if self.shows and now - self._written_at >= _GLANCE:
            self._written_at = now
            of = "" if self.total is None else f" of {self.total:,}"
            line = fitted(f"{count:,}{of} runs", shutil.get_terminal_size().columns - 1)
            click.echo(_CLEAR + line, nl=False, err=True, color=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._written_at:
            click.echo(_CLEAR, nl=False, err=True, color=True)
            self._written_at = 0
