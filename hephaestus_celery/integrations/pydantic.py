"""Declared types of data by pydantic: models, dataclasses and TypedDicts are validated, stored as JSON, and read.

Stored are a type's fields by their names, whatever aliases they have, so that they are read without regard to these. Dates,
times, decimals and UUIDs stay what they are; every other value is what pydantic makes of it in JSON. Fields that are computed
are not stored: reading computes them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import sys
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, Required, Union, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    PydanticSchemaGenerationError,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json
from typing_extensions import TypeAliasType, TypedDict, get_type_hints, is_typeddict

from hephaestus_celery.core.values.data_types import Misfit
from hephaestus_celery.core.values.formatting import shortened, shown

_KEPT = (dt.datetime, dt.date, dt.time, decimal.Decimal, uuid.UUID)
"""The types, beside those of JSON, whose values are stored as they are."""
_TOLD = 10  # problems of one value that a message tells
_TEXT = 200  # characters of what pydantic says of a problem
_DEPTH = 100  # levels up to which values are looked at; deeper ones are refused when they are stored
_SECRETS = (SecretStr, SecretBytes, Secret)


class PydanticType:
    """A declared type; its adapter is made at once, or when it is first used if the type names what is defined later."""

    def __init__(self, declared: Any) -> None:
        self._declared = _supported(declared)
        self._name = _called(declared)
        self._classes = tuple(_classes(declared))
        self._adapter: TypeAdapter[Any] | None = None
        self._is_strict: bool | None = None
        with contextlib.suppress(PydanticUndefinedAnnotation):  # of a name that the module defines later
            self._adapter = TypeAdapter(self._declared)
        self._names = dict(_aliases(declared))

    @property
    def name(self) -> str:
        """The type, as messages name it."""
        return self._name

    def holds(self, value: object) -> bool:
        """Whether a value is an object of the type; False for a mapping."""
        return isinstance(value, self._classes)

    def accept(self, given: object) -> object:
        """What is stored of an object of the type, or of a mapping that fits it."""
        if not self.holds(given):
            return self._plain(self._valid(_as_dict(given)))
        # Its class may not have checked it, and its fields may have been set since: what is stored must be readable.
        plain = self._plain(given)
        self._valid(plain)
        return plain

    def overlay(self, before: Mapping[str, Any], changes: object) -> object:
        """What is stored where ``changes``, a mapping or an object of the type, are laid over what was stored before."""
        plain = self._plain(changes) if self.holds(changes) else _as_dict(changes)
        if not isinstance(plain, dict):
            return self._plain(self._valid(plain))  # which says what is wrong with it
        known = cast("dict[Any, Any]", plain)
        return self._plain(self._valid({**before, **{self._names.get(key, key): item for key, item in known.items()}}))

    def read(self, stored: Mapping[str, Any]) -> Any:
        """The object of the type that a stored mapping describes."""
        return self._valid(dict(stored))

    @property
    def _made(self) -> TypeAdapter[Any]:
        if self._adapter is None:
            self._adapter = TypeAdapter(self._declared)
        return self._adapter

    def _valid(self, value: object) -> Any:
        try:
            return self._made.validate_python(value, by_alias=True, by_name=True)
        except ValidationError as error:
            if not self._asks_for_json(value):
                raise _misfit(error) from error
        # Strict types take a list for a set, or text for an enum, from JSON alone; and JSON it is what is stored.
        try:
            return self._made.validate_json(to_json(value), by_alias=True, by_name=True)
        except ValidationError as error:
            raise _misfit(error) from error

    def _asks_for_json(self, value: object) -> bool:
        if self._is_strict is None:
            self._is_strict = _has_strict_part(self._made.core_schema)
        return self._is_strict and isinstance(value, dict)

    def _plain(self, value: object) -> object:
        dump = self._made.dump_python
        try:
            as_json = dump(value, mode="json", by_alias=False, round_trip=True, warnings=False)
            as_python = dump(value, mode="python", by_alias=False, round_trip=True, warnings=False)
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise Misfit([("", f"can't be stored: {_line(str(error))}")], number=1) from error
        return _merged(as_python, as_json, "", 0)


def data_type(declared: object) -> PydanticType:
    """The declared type of a step's result or of a workflow's initial context; ``TypeError`` if it can't be one."""
    if not _is_supported(declared):
        raise TypeError(
            "data is a mapping, so its type is a pydantic model, a dataclass or a TypedDict (or a union of these)"
        )
    try:
        return PydanticType(declared)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise TypeError(_line(str(error).partition("\n\nFor further information")[0], limit=1000)) from error


def _is_supported(declared: Any) -> bool:
    if get_origin(declared) in (Union, types.UnionType):
        return all(map(_is_supported, get_args(declared)))
    if isinstance(declared, TypeAliasType):
        return _is_supported(declared.__value__)
    inner = get_args(declared)[0] if get_origin(declared) is typing.Annotated else declared
    if inner is not declared:
        return _is_supported(inner)
    kind: Any = get_origin(declared) or declared
    if not isinstance(kind, type):
        return False
    known = cast("type[object]", kind)
    return issubclass(known, (BaseModel, Mapping)) or dataclasses.is_dataclass(known) or is_typeddict(known)


def _classes(declared: Any) -> typing.Iterator[type]:
    # The classes of the type's objects. Those of a TypedDict are mappings, as what is not an object is.
    if isinstance(declared, TypeAliasType):
        yield from _classes(declared.__value__)
    elif get_origin(declared) is typing.Annotated:
        yield from _classes(get_args(declared)[0])
    elif get_origin(declared) in (Union, types.UnionType):
        for member in get_args(declared):
            yield from _classes(member)
    else:
        kind = get_origin(declared) or declared
        if not issubclass(kind, Mapping) and not is_typeddict(kind):
            yield kind


def _aliases(declared: Any) -> typing.Iterator[tuple[str, str]]:
    # The aliases by which a model's fields can be given, each with the name of its field.
    for kind in _classes(declared):
        for name, field in (kind.model_fields if issubclass(kind, BaseModel) else {}).items():
            for alias in (field.alias, field.validation_alias, *getattr(field.validation_alias, "choices", ())):
                if isinstance(alias, str):
                    yield alias, name


def _called(declared: Any) -> str:
    name = getattr(declared, "__qualname__", None) if isinstance(declared, type) and not get_args(declared) else None
    return shown(declared) if name is None else name.rpartition("<locals>.")[2]


def _as_dict(given: object) -> object:
    if isinstance(given, Mapping) and not isinstance(given, dict):
        return dict(cast("Mapping[Any, Any]", given))
    return cast("object", given)


def _merged(value: Any, as_json: Any, where: str, depth: int) -> Any:
    # The JSON of a value, but for what is stored as it is. ``value`` is the same in Python's types.
    if type(value) in _KEPT:
        return value
    if as_json is None:
        return value  # nothing, or a number that JSON has not, and that is refused
    if isinstance(value, _SECRETS):
        return _revealed(value, as_json, where)
    if depth < _DEPTH and isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return _merged_parts(cast("Any", value), as_json, where, depth + 1)
    return as_json


def _merged_parts(value: Any, as_json: Any, where: str, depth: int) -> Any:
    if not _has_form_of(value, as_json):
        return as_json  # a serializer of the type's own has made it
    if isinstance(value, (set, frozenset)):
        items: list[Any] = list(cast("set[Any]", value))  # in another order than those of the JSON
        return items if all(type(item) in _KEPT for item in items) else as_json
    if isinstance(value, Mapping):
        pairs = zip(cast("Mapping[Any, Any]", value).values(), as_json.items(), strict=True)
        return {key: _merged(item, other, f"{where}.{key}", depth) for item, (key, other) in pairs}
    both = enumerate(zip(cast("Sequence[Any]", value), as_json, strict=True))
    return [_merged(item, other, f"{where}[{index}]", depth) for index, (item, other) in both]


def _has_form_of(value: Any, as_json: object) -> bool:
    kind: type = dict if isinstance(value, Mapping) else list
    return isinstance(as_json, kind) and len(cast("Sequence[Any]", value)) == len(cast("Sequence[Any]", as_json))


def _revealed(secret: Any, as_json: Any, where: str) -> Any:
    # Only a serializer of the type may say that a secret is stored, and as what: by itself it would be read as asterisks.
    if as_json and (as_json == str(secret) or "*****" in str(as_json)):
        what = f"is a {type(secret).__name__}, which would be stored as asterisks and could not be read; pass a reference to it"
        raise Misfit([(where, f"{what}, or give the field a serializer")], number=1)
    return as_json


def _misfit(error: ValidationError) -> Misfit:
    hidden = "input_value=" not in str(error)
    details = error.errors(include_url=False, include_context=False)
    problems = [(_path(one["loc"]), _told(one, hidden=hidden)) for one in details[:_TOLD]]
    return Misfit(problems, number=len(details))


def _path(loc: Sequence[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_line(str(part))}" for part in loc)


def _told(problem: ErrorDetails, *, hidden: bool) -> str:
    text = f"{_line(problem['msg'])} [{problem['type']}"
    if hidden or problem["type"] == "missing":
        return f"{text}]"
    given = problem["input"]
    return f"{text}, not {_line(shown(given))} ({type(given).__name__})]"


def _line(text: str, *, limit: int = _TEXT) -> str:
    # One line of bounded length that can be printed anywhere.
    plain = shortened(text, limit=limit)
    return plain if plain.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in plain)


def _has_strict_part(schema: object) -> bool:
    # Whether a part of a type is strict, or reads bytes in another way from JSON.
    seen: set[int] = set()
    waiting: list[Any] = [schema]
    while waiting:
        part: Any = waiting.pop()
        if not isinstance(part, (Mapping, list, tuple)) or id(cast("object", part)) in seen:
            continue
        seen.add(id(cast("object", part)))
        if isinstance(part, Mapping):
            known = cast("Mapping[str, Any]", part)
            if known.get("strict") is True or known.get("val_json_bytes") not in (None, "utf8"):
                return True
            waiting.extend(item for key, item in known.items() if key not in ("default", "metadata"))
        else:
            waiting.extend(cast("Sequence[Any]", part))
    return False


def _supported(declared: Any) -> Any:
    """The type in a form that pydantic takes: before Python 3.12 it takes no ``TypedDict`` of ``typing``."""
    if sys.version_info >= (3, 12):
        return declared
    return _with_known_typed_dicts(declared, {})


def _with_known_typed_dicts(declared: Any, made: dict[Any, Any]) -> Any:
    if isinstance(declared, type) and is_typeddict(declared) and type(declared).__module__ == "typing":
        if declared not in made:
            hints = get_type_hints(declared, include_extras=True)
            always: frozenset[str] = getattr(cast("Any", declared), "__required_keys__", frozenset())
            fields = {name: _field(hint, required=name in always, made=made) for name, hint in hints.items()}
            made[declared] = TypedDict(declared.__name__, fields)  # type: ignore[operator] - by a function, as it may be
        return made[declared]
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is None or origin is typing.Literal or not arguments:
        return declared
    filled = tuple(_with_known_typed_dicts(one, made) for one in arguments)
    if filled == arguments:
        return declared
    if origin in (Union, types.UnionType):
        return Union[filled]  # noqa: UP007 - of a tuple
    if origin is typing.Annotated:
        return typing.Annotated[filled]
    return origin[filled]


def _field(hint: Any, *, required: bool, made: dict[Any, Any]) -> Any:
    if get_origin(hint) in (Required, typing.Required):
        required, [hint] = True, get_args(hint)
    elif get_origin(hint) in (NotRequired, typing.NotRequired):
        required, [hint] = False, get_args(hint)
    known = _with_known_typed_dicts(hint, made)
    return Required[known] if required else NotRequired[known]
