"""Text as it is shown: hostile characters are escaped, and lengths are counted in columns of the screen."""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"
LONGEST = 10_000
"""Characters of one value that are ever looked at: more would fill no screen."""
_COMBINING = {"Mn", "Me"}
_WIDE = {"W", "F"}


def printable(text: str, *, limit: int = LONGEST) -> str:
    """``text`` in one line, with each character escaped that could move the cursor, hide text or break the encoding."""
    cut = text[:limit]
    if not cut.isprintable():
        cut = "".join(map(_escaped, cut))
    return cut if len(text) <= limit else cut + ELLIPSIS


def printable_lines(text: str, *, limit: int = LONGEST) -> list[str]:
    """The lines of ``text``, each as :func:`printable`; a tab is four blanks."""
    cut = text if len(text) <= limit else text[:limit] + ELLIPSIS
    return [printable(line.replace("\t", "    ")) for line in cut.splitlines()]


def columns(text: str) -> int:
    """The columns that ``text`` takes on a screen: a wide character takes two, a combining one none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def fitted(text: str, width: int) -> str:
    """``text`` cut to ``width`` columns, with an ellipsis where something was cut."""
    if columns(text) <= width:
        return text
    return _beginning(text, width - 1) + ELLIPSIS if width > 0 else ""


def wrapped(text: str, width: int, *, indent: int) -> list[str]:
    """``text`` in lines of ``width`` columns at most, broken at blanks; all but the first are indented."""
    lines, line = list[str](), ""
    for number, word in enumerate(text.split(" ")):  # words are empty where blanks follow each other
        longer = f"{line} {word}" if number else word
        if columns(longer) <= width or not line.strip():
            line = longer
        else:
            lines.append(line)
            line = " " * indent + word
        while columns(line) > width:  # a word that is longer than a line
            kept = _beginning(line, width)
            lines.append(kept)
            line = " " * indent + line[len(kept) :]
    return [*lines, line]


def _beginning(text: str, width: int) -> str:
    taken, kept = 0, 0
    for character in text:
        taken += _columns(character)
        if taken > width:
            break
        kept += 1
    return text[:kept]


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _columns(character: str) -> int:
    if unicodedata.category(character) in _COMBINING:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
