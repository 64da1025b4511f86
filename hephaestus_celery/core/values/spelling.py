"""Finds the name that was meant where an attribute or setting was misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import MappingProxyType

_SHORT = 5
"""Names with fewer letters differ by a letter or two from too many words."""


def nearest(name: str, options: Collection[str]) -> str | None:
    """The option that is most like ``name``, even if it is very different; None if there are no options."""
    close = difflib.get_close_matches(name, options, n=1)
    return close[0] if close else None


def misspelt(name: str, options: Collection[str], *, aliases: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """The option that ``name`` is surely meant to be, although the user's own names are allowed too.

    Such an option differs only in case or underscores, or by one letter (left out, put in, replaced, or two exchanged; two
    letters in long names), or ``aliases`` maps the name to it. None if ``name`` is an option itself.
    """
    if name in options:
        return None
    if name in aliases:
        return aliases[name]
    return next((option for option in options if _is_near(name, option)), None)


@lru_cache(maxsize=10_000)  # ten thousand steps have the same few names
def _is_near(name: str, option: str) -> bool:
    plain, wanted = _plain(name), _plain(option)
    allowed = 2 if len(wanted) > 2 * _SHORT else 1
    if len(wanted) < _SHORT or abs(len(plain) - len(wanted)) > allowed:
        return plain == wanted
    return _distance(plain, wanted) <= allowed


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _distance(one: str, other: str) -> int:
    """How many letters must be left out, put in, replaced, or exchanged with the next one, to make one of the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and (letter, one[i - 2]) == (other[j - 2], wanted):
                least = min(least, earlier[j - 2] + 1)
            row.append(least)
    return row[-1]
