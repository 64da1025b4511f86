"""The types that classes declare, as in ``class Charge(Step[Receipt])``: found when a class is defined."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import new_class
from typing import Any, TypeVar, get_args, get_origin
from weakref import WeakValueDictionary

from hephaestus_celery.core.values.data_types import DataType
from hephaestus_celery.core.values.formatting import shortened, shown
from hephaestus_celery.core.values.type_maker import maker
from hephaestus_celery.exceptions import DefinitionError

_SHOWN = 2000  # characters of what is wrong with a type
_EXTRA = "hephaestus-celery[pydantic]"
_BOUND: WeakValueDictionary[Any, type[Any]] = WeakValueDictionary()


def declared_type(cls: type[Any], root: type[Any]) -> DataType | None:
    """The type that a class declares in the brackets of ``root`` or of a subclass of it; that of its bases if it has none.

    ``DefinitionError`` says what is wrong with the type, or that the extra is missing. Called before the class is ready.
    """
    for base in cls.__dict__.get("__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, root):
            cls.__type_expression__ = _filled(origin, get_args(base), root)
            break
    else:
        inherited: DataType | None = getattr(cls, "__data_type__", None)
        return inherited
    expression = cls.__type_expression__
    return None if _is_open(expression) else _made(cls, expression)


def bound(cls: type[Any], alias: Any) -> Any:
    """The subclass of a generic class that ``alias``, such as ``Step[Receipt]``, means; the same one each time.

    The alias itself while it has type variables, or no type. Its class has the name and the key of the generic class.
    """
    arguments = get_args(alias)
    if alias.__parameters__ or all(map(_is_open, arguments)):
        return alias
    try:
        made = _BOUND.get((cls, arguments))
    except TypeError:  # what annotates the type has no hash
        made = None
    if made is None:
        names = ", ".join(map(_called, arguments))
        body = {
            "__module__": cls.__module__,
            "__doc__": cls.__doc__,
            "__qualname__": f"{cls.__qualname__}[{names}]",
            "key": cls.key,
        }
        made = new_class(f"{cls.__name__}[{names}]", (alias,), exec_body=lambda own: own.update(body))
        with suppress(TypeError):
            _BOUND[cls, arguments] = made
    return made


def _filled(origin: type[Any], arguments: tuple[Any, ...], root: type[Any]) -> object:
    # The expression of a generic class, such as Page[R], with the arguments in the place of its type variables.
    parameters: tuple[Any, ...] = getattr(origin, "__parameters__", ())
    given = dict(zip(parameters, arguments, strict=False))
    expression: Any = arguments[0] if origin is root else getattr(origin, "__type_expression__", None)
    if isinstance(expression, TypeVar):
        return given.get(expression, expression)
    inner: tuple[Any, ...] = getattr(expression, "__parameters__", ())
    return (
        expression[tuple(given.get(one, one) for one in inner)]
        if inner and not isinstance(expression, type)
        else expression
    )


def _is_open(expression: object) -> bool:
    # A type variable, or what a class without a type has: then there is nothing to check.
    if isinstance(expression, TypeVar) or expression in (Any, None, dict[str, Any], Mapping[str, Any]):
        return True
    return not isinstance(expression, type) and bool(getattr(expression, "__parameters__", ()))


def _made(cls: type[Any], expression: object) -> DataType:
    try:
        make = maker()
    except ImportError as error:
        problem = f"its type {_called(expression)} needs pydantic: pip install '{_EXTRA}' ({shortened(str(error))})"
        raise DefinitionError(cls.__qualname__, [problem]) from error
    try:
        return make(expression)
    except Exception as error:
        raise DefinitionError(
            cls.__qualname__, [f"the type {_called(expression)}: {shortened(str(error), limit=_SHOWN)}"]
        ) from error


def _called(expression: object) -> str:
    return expression.__qualname__ if isinstance(expression, type) else shown(expression)
