"""The screen: where a command prints, how wide it is, and whether it shows colours."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

import click

from hephaestus_celery.reports.text import columns

_SYMBOLS = "✓●○↻◆✗·→…"
STYLES = frozenset({"red", "green", "cyan", "magenta", "bold", "dim"})
"""Words of styles: colours that are read on dark and on light terminals alike, which yellow, blue and white are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Standard output. ``width`` is None where lines may have any length: in pipes, and with ``--wide``.

    ``write`` takes lines in the place of standard output.
    """

    people: bool
    """Whether somebody reads it on a terminal."""
    coloured: bool
    width: int | None
    symbols: bool = True
    """Whether it shows symbols beyond ASCII."""
    moves: bool = False
    """Whether it is a terminal on which lines may be drawn over others."""
    write: Callable[[str], None] | None = None

    def styled(self, text: str, style: str) -> str:
        """``text`` in a style of the words of :data:`STYLES`, such as ``green bold``; without colours as it is."""
        if not self.coloured or not style or not text:
            return text
        words = style.split()
        colours = [word for word in words if word not in ("bold", "dim")]
        return click.style(
            text, fg=colours[0] if colours else None, bold="bold" in words or None, dim="dim" in words or None
        )

    def cell(self, text: str, style: str, width: int, *, right: bool = False) -> str:
        """``text`` in a style, with blanks up to so many columns."""
        blanks = " " * max(0, width - columns(text))
        styled = self.styled(text, style)
        return blanks + styled if right else styled + blanks

    def show(self, text: str = "") -> None:
        """Print a line; what the encoding of the output does not have is escaped."""
        encoding: str = getattr(sys.stdout, "encoding", None) or "utf-8"
        safe = text.encode(encoding, "backslashreplace").decode(encoding)
        if self.write is None:
            click.echo(safe, color=self.coloured)
        else:
            self.write(safe)


def find_screen(celery_context: Any, *, wide: bool = False) -> Screen:
    """The screen of this process; Celery's ``--no-color``, the variable NO_COLOR and ``TERM=dumb`` turn colours off."""
    output = sys.stdout
    people = output.isatty()
    able = people and os.environ.get("TERM") != "dumb"
    plain = not able or bool(os.environ.get("NO_COLOR")) or bool(getattr(celery_context, "no_color", False))
    width = shutil.get_terminal_size().columns if people and not wide else None
    return Screen(
        people=people, coloured=not plain, width=width, symbols=_has_symbols(output), moves=able and width is not None
    )


def _has_symbols(output: TextIO) -> bool:
    try:
        _SYMBOLS.encode(output.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
