"""Text tables, as the commands print them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def table(headings: Sequence[str], rows: Collection[Sequence[str]], *, numbers: Collection[str] = ()) -> str:
    """A line for the headings and one for each row, in aligned columns; those named in ``numbers`` to the right."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join("  ".join(_aligned(headings, line, widths, numbers)).rstrip() for line in lines)


def _aligned(
    headings: Sequence[str], line: Sequence[str], widths: Sequence[int], numbers: Collection[str]
) -> Iterable[str]:
    for heading, text, width in zip(headings, line, widths, strict=True):
        yield text.rjust(width) if heading in numbers else text.ljust(width)
