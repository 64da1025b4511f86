"""Labels of steps, workflows and reasons for logs and metrics.

They never raise, whatever the metadata holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

UNKNOWN: Final = "unknown"


def label(value: object) -> str:
    """The key of a step, the name of a workflow, the qualified name of any other class, else the text of the value.

    None and what is empty are ``unknown``.
    """
    if isinstance(value, type):
        for attribute in ("key", "name"):
            found = getattr(value, attribute, None)
            if isinstance(found, str) and found:
                return found
        return f"{value.__module__}.{value.__qualname__}"
    return UNKNOWN if value is None else _text(value) or UNKNOWN


def step_label(metadata: Mapping[str, Any]) -> str:
    """The key of the step that an event is about."""
    key = metadata.get("step_key")
    return key if isinstance(key, str) and key else label(metadata.get("step"))


def reason_label(reason: object) -> str:
    """What went wrong, on one line as far as the reason is: ``ValueError: no such order``, or the reason itself."""
    if issubclass(type(reason), BaseException):  # isinstance() would ask the reason itself
        name, text = class_name(reason), _text(reason)
        return f"{name}: {text}" if text else name
    return label(reason)


def _text(value: object) -> str:
    try:
        return str.__str__(str(value))
    except BaseException:  # noqa: BLE001 - the value is the user's, and so is its __str__
        return f"<{class_name(value)} that cannot be printed>"


def class_name(value: object) -> str:
    """The name of a value's class, as Python keeps it: a metaclass may make anything of the attribute."""
    return cast("str", type.__dict__["__name__"].__get__(type(value)))
