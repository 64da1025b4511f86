"""Formatting values for error messages and logs: shortened, whatever their size, so that they stay readable."""

from __future__ import annotations

from collections.abc import Collection

SHOWN = 80
"""Characters of a value that a message shows."""
LISTED = 10
"""Names that a message lists."""


def shortened(text: str, *, limit: int = SHOWN) -> str:
    """``text``, cut off where it is longer than ``limit`` characters."""
    return text if len(text) <= limit else f"{text[:limit]}..."


def shown(value: object, *, limit: int = SHOWN) -> str:
    """``repr(value)``, shortened; the type if ``repr`` raises."""
    try:
        return shortened(repr(value), limit=limit)
    except Exception:  # noqa: BLE001 - the user's own __repr__; the type says enough
        return f"a {type(value).__name__}"


def named(value: object, *, limit: int = SHOWN) -> str:
    """:func:`shown`, and the type: ``5 (int)``."""
    text, kind = shown(value, limit=limit), type(value).__name__
    return text if text == f"a {kind}" else f"{text} ({kind})"


def listed(names: Collection[str], *, limit: int = LISTED) -> str:
    """The first ``limit`` names, each shortened, and the number of the others: ``a, b, c and 990 more``."""
    first = ", ".join(shortened(name) for name, _ in zip(names, range(limit), strict=False))
    return first if len(names) <= limit else f"{first} and {len(names) - limit} more"
