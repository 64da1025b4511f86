"""Values of a store as JSON text and back, for stores that keep a run in a column: ``decode(kind, encode(kind, x)) == x``.

Defaults are omitted. So a field with a default may be added later, and older documents stay readable.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Made = Callable[[Any], Any]


def encode(kind: type[T], value: T) -> str:
    """The JSON text of a value of this class: a dataclass of plain values, other dataclasses, and collections of these."""
    return _write(_form(kind).write(value))


def decode(kind: type[T], text: str) -> T:
    """The value of this class that :func:`encode` was given; a ``Sequence`` is read as a tuple."""
    return _form(kind).read(json.loads(text))


@dataclasses.dataclass(frozen=True, slots=True)
class _Form:
    """How a value of a type is converted to JSON values, and back."""

    write: Made
    read: Made


_write = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _as_it_is(value: Any) -> Any:
    return value


_PLAIN = _Form(_as_it_is, _as_it_is)


@cache
def _form(kind: Any) -> _Form:
    """``TypeError`` for a type that a document can't hold."""
    origin, given = get_origin(kind), get_args(kind)
    if kind in (str, int, bool) or origin is Literal:
        return _PLAIN
    if origin in (Union, UnionType):
        [inner] = [_form(each) for each in given if each is not NoneType]
        return _Form(*(_unless_none(made) for made in (inner.write, inner.read)))
    if origin in (dict, Mapping):
        return _form_of_mapping(given)
    if origin in (tuple, frozenset, list, Sequence):
        return _form_of_items(origin, given)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _Form(_as_it_is, kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _form_of_fields(kind)
    raise TypeError(f"no document holds a {kind}")


def _unless_none(made: Made) -> Made:
    return lambda value: None if value is None else made(value)


def _form_of_mapping(given: Sequence[Any]) -> _Form:
    key, inner = (int if given[0] is int else _as_it_is), _form(given[1])
    return _Form(
        lambda value: {str(name): inner.write(item) for name, item in value.items()},
        lambda found: {key(name): inner.read(item) for name, item in found.items()},
    )


def _form_of_items(origin: Any, given: Sequence[Any]) -> _Form:
    if origin is tuple and given[-1] is not Ellipsis:
        each = [_form(kind) for kind in given]
        return _Form(
            lambda value: [form.write(item) for form, item in zip(each, value, strict=True)],
            lambda found: tuple(form.read(item) for form, item in zip(each, found, strict=True)),
        )
    inner = _form(given[0])
    if origin is frozenset:
        return _Form(lambda value: sorted(map(inner.write, value)), lambda found: frozenset(map(inner.read, found)))

    def write(value: Sequence[Any]) -> list[Any]:
        return [inner.write(item) for item in value]

    return _Form(write, _list_of(inner.read) if origin is list else _tuple_of(inner.read))


def _list_of(read: Made) -> Made:
    return lambda found: [read(item) for item in found]


def _tuple_of(read: Made) -> Made:
    return lambda found: tuple(read(item) for item in found)


def _form_of_fields(kind: type[Any]) -> _Form:
    hints = get_type_hints(kind)
    forms = {field.name: _form(hints[field.name]) for field in dataclasses.fields(kind)}
    fields = [(field.name, _default(field), forms[field.name].write) for field in dataclasses.fields(kind)]

    def write(value: Any) -> dict[str, Any]:
        held = [(name, getattr(value, name), default, made) for name, default, made in fields]
        return {name: made(item) for name, item, default, made in held if item != default}

    def read(found: Mapping[str, Any]) -> Any:
        return kind(**{name: forms[name].read(item) for name, item in found.items()})

    return _Form(write, read)


def _default(field: dataclasses.Field[Any]) -> object:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
