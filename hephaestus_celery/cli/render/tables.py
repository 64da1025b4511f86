"""Text tables, as the commands print them: aligned columns, fitted to the screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.reports.text import columns, fitted, printable, wrapped

_GAP = "  "
_LEAST = 8
_NOTE = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """A text of a table, in a style of :class:`Screen`."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column. ``flexible`` ones are cut where the screen is too narrow; ``right`` ones are numbers."""

    heading: str
    right: bool = False
    flexible: bool = False


def show_table(
    screen: Screen,
    headings: Sequence[Column],
    rows: Iterable[Sequence[Cell | str]],
    *,
    notes: Sequence[str] = (),
) -> None:
    """Print rows under headings; a column in which nothing stands is left out. A row's note stands under it, if it has one."""
    _show(screen, headings, rows, headed=True, indent=0, notes=notes)


def fits(screen: Screen, headings: Sequence[Column], rows: Iterable[Sequence[Cell | str]]) -> bool:
    """Whether a table of these rows can be shown with no cell cut."""
    if screen.width is None:
        return True
    *_, widths = _measured(headings, rows, headed=True)
    return sum(widths) + len(_GAP) * (len(widths) - 1) <= screen.width


def show_rows(
    screen: Screen, headings: Sequence[Column], rows: Iterable[Sequence[Cell | str]], *, indent: int = 0
) -> None:
    """Print rows without their headings."""
    _show(screen, headings, rows, headed=False, indent=indent)


def _show(
    screen: Screen,
    headings: Sequence[Column],
    rows: Iterable[Sequence[Cell | str]],
    *,
    headed: bool,
    indent: int,
    notes: Sequence[str] = (),
) -> None:
    lines, shown, widths = _measured(headings, rows, headed=headed)
    if screen.width is not None:
        _narrow(shown, widths, screen.width - indent)
    if headed:
        heads = [Cell(column.heading.upper(), "bold") for column in shown]
        screen.show(" " * indent + _line(screen, shown, heads, widths))
    for number, line in enumerate(lines):
        screen.show(" " * indent + _line(screen, shown, line, widths))
        if notes and notes[number]:
            _show_note(screen, notes[number])


def _show_note(screen: Screen, note: str) -> None:
    text = " " * _NOTE + printable(note)
    for line in [text] if screen.width is None else wrapped(text, screen.width, indent=_NOTE):
        screen.show(line)


def _measured(
    headings: Sequence[Column], rows: Iterable[Sequence[Cell | str]], *, headed: bool
) -> tuple[list[list[Cell]], list[Column], list[int]]:
    # The cells that are shown, their columns, and how wide each would be.
    cells = [[_safe(cell) for cell in row] for row in rows]
    kept = [number for number in range(len(headings)) if any(row[number].text for row in cells)]
    shown = [headings[number] for number in kept]
    lines = [[row[number] for number in kept] for row in cells]
    return lines, shown, _widths(shown, lines, headed=headed)


def _safe(cell: Cell | str) -> Cell:
    return Cell(printable(cell)) if isinstance(cell, str) else Cell(printable(cell.text), cell.style)


def _widths(headings: Sequence[Column], lines: Sequence[Sequence[Cell]], *, headed: bool) -> list[int]:
    least = [len(column.heading) if headed else 0 for column in headings]
    return [max([least[number], *(columns(line[number].text) for line in lines)]) for number in range(len(headings))]


def _narrow(headings: Sequence[Column], widths: list[int], most: int) -> None:
    # Takes from the widest flexible column first, until the line fits; on a very narrow screen from all of them.
    flexible = [number for number, column in enumerate(headings) if column.flexible]
    for least, among in ((_LEAST, flexible), (1, flexible), (1, range(len(widths)))):
        while (over := sum(widths) + len(_GAP) * (len(widths) - 1) - most) > 0:
            wide = [number for number in among if widths[number] > least]
            if not wide:
                break
            widest = max(wide, key=lambda number: widths[number])
            following = max((widths[number] for number in wide if widths[number] < widths[widest]), default=least)
            widths[widest] -= min(over, max(1, widths[widest] - following))


def _line(screen: Screen, headings: Sequence[Column], line: Sequence[Cell], widths: Sequence[int]) -> str:
    parts: list[str] = []
    last = len(line) - 1
    for number, (column, cell, width) in enumerate(zip(headings, line, widths, strict=True)):
        text = fitted(cell.text, width)
        parts.append(
            screen.cell(text, cell.style, 0 if number == last and not column.right else width, right=column.right)
        )
    return _GAP.join(parts).rstrip()
