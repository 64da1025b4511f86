"""URLs and options shown to people without passwords and other secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_USER = re.compile(r"(?<=://)[^,;\s]*@")  # up to the last @: an unescaped password may hold any of / # ? :
_SECRET = re.compile(r"password|secret|token|credential", re.IGNORECASE)
_IN_QUERY = re.compile(r"(?i)([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&\s]*")


def hidden(text: object) -> str:
    """A URL, several, or a text with URLs in it, without users and passwords."""
    shown = str(text)
    if "://" not in shown and "@" in shown:
        return f"***@{shown.rpartition('@')[2]}"
    return _IN_QUERY.sub(r"\1***", _USER.sub("***@", shown))


def hidden_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a client, without the values of those that are secret."""
    return {name: "***" if _SECRET.search(name) else _hidden_value(value) for name, value in options.items()}


def _hidden_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return hidden_options(value)  # pyright: ignore[reportUnknownArgumentType] - whatever the user gave
    return hidden(value) if isinstance(value, str) else value
