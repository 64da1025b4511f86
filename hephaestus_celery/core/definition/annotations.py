"""What the return annotation of a step's function says about its answers; only sure contradictions are problems."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hephaestus_celery.core.values.formatting import listed, shown

_NO_ANSWERS = (bool, int, float, complex, bytes, list, tuple, set, frozenset)
_UNKNOWN = object()


def answer_problems(function: Callable[..., Any], events: Collection[str]) -> list[str]:
    """How the return annotation contradicts the events that are declared, a sentence each.

    An annotation that is missing or can't be evaluated here says nothing.
    """
    parts = list(_parts(_returned(function)))
    texts = [
        value for part in parts if get_origin(part) is Literal for value in get_args(part) if isinstance(value, str)
    ]
    declared = listed([repr(event) for event in events])
    problems = [
        f"its return annotation has {shown(text)}, an event that it does not declare ({declared})"
        for text in dict.fromkeys(texts)
        if text not in events
    ]
    # With nothing but names of events in it, the annotation names all of them.
    closed = bool(texts) and all(get_origin(part) is Literal and _is_text(part) for part in parts)
    problems += [
        f"events has {shown(event)}, an event that it can't give: its return annotation does not have it"
        for event in events
        if closed and event not in texts
    ]
    if not any(_may_answer(part) for part in parts):
        problems.append(
            f"its return annotation is {_listed(parts)}, which is no answer of a step: a mapping, None, the name of an event, Ok, "
            "Async, Again or Error"
        )
    elif len(events) > 1 and all(_names_no_event(part) for part in parts):
        problems.append(
            f"its return annotation is {_listed(parts)}, and an answer must name one of its events ({declared}): return it, or "
            "Ok(event, ...)"
        )
    return problems


def _returned(function: Callable[..., Any]) -> object:
    try:
        annotation = function.__annotations__.get("return", _UNKNOWN)
        alone: Any = SimpleNamespace(__annotations__={"return": annotation})
        return get_type_hints(alone, getattr(function, "__globals__", {})).get("return", _UNKNOWN)
    except Exception:  # noqa: BLE001 - annotations are code of the user's, and may name what exists for type checkers only
        return _UNKNOWN


def _parts(annotation: object) -> Iterator[object]:
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _is_text(part: object) -> bool:
    return all(isinstance(value, str) for value in get_args(part))


def _may_answer(part: object) -> bool:
    return (get_origin(part) or part) not in _NO_ANSWERS


def _names_no_event(part: object) -> bool:
    return (get_origin(part) or part) in (NoneType, dict, Mapping, *_NO_ANSWERS)


def _listed(parts: list[object]) -> str:
    return listed(["None" if part is NoneType else getattr(part, "__name__", shown(part)) for part in parts])
