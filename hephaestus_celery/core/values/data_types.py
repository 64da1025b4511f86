"""The port of declared types of data: what checks a value against a type, and what makes objects of the type.

The core declares it only; :mod:`hephaestus_celery.core.values.type_maker` finds the implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from hephaestus_celery.core.values.formatting import shortened
from hephaestus_celery.core.values.json_values import LONGEST_PATH, check_mapping
from hephaestus_celery.exceptions import DataError


class ModelObject(Protocol):
    """An object of a pydantic model."""

    __pydantic_complete__: ClassVar[bool]


class DataclassObject(Protocol):
    """An object of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Data = Mapping[str, Any] | ModelObject | DataclassObject
"""What callers and steps give: a mapping, or an object of a declared type."""


class DataType(Protocol):
    """A declared type. Its calls raise ``Misfit`` for a value of another form, and what validators of the type raise."""

    @property
    def name(self) -> str:
        """The type, as messages name it."""
        ...

    def holds(self, value: object) -> bool:
        """Whether a value is an object of the type; False for a mapping."""
        ...

    def accept(self, given: object) -> object:
        """What is stored of an object of the type, or of a mapping that fits it."""
        ...

    def overlay(self, before: Mapping[str, Any], changes: object) -> object:
        """What is stored where ``changes``, a mapping or an object of the type, are laid over what was stored before."""
        ...

    def read(self, stored: Mapping[str, Any]) -> Any:
        """The object of the type that a stored mapping describes."""
        ...


class Misfit(Exception):  # noqa: N818 - no caller ever sees it: it becomes a DataError, which says of what
    """A value does not fit a type; ``problems`` are pairs of a path within the value, and what is wrong there."""

    def __init__(self, problems: list[tuple[str, str]], *, number: int) -> None:
        self.problems = problems
        self.number = number
        super().__init__()

    def account(self, path: str) -> str:
        """All problems in one line, each with its path below ``path``."""
        told = "; ".join(f"{shortened(path + where, limit=LONGEST_PATH)}: {what}" for where, what in self.problems)
        more = self.number - len(self.problems)
        return f"{told}; and {more:,} more" if more else told


def accepted(type_: DataType | None, given: object, path: str) -> dict[str, Any]:
    """What is stored of a value that a caller or a step gave; :class:`DataError` has the account of what does not fit."""
    if type_ is None:
        return check_mapping(given, path)
    return check_mapping(_tried(type_, path, lambda: type_.accept(given)), path)


def overlaid(type_: DataType | None, before: Mapping[str, Any], changes: object, path: str) -> dict[str, Any]:
    """What is stored where ``changes`` are laid over what was stored before, key by key; checked like :func:`accepted`."""
    if type_ is None:
        return {**before, **check_mapping(changes, path)}
    return check_mapping(_tried(type_, path, lambda: type_.overlay(before, changes)), path)


def _tried(type_: DataType, path: str, make: Callable[[], object]) -> object:
    try:
        return make()
    except Misfit as misfit:
        raise DataError(f"{misfit.account(path)} (expected {type_.name})") from misfit.__cause__
    except Exception as error:  # a validator of the user's may raise anything
        raise DataError(
            f"{path} can't be validated: {type_.name} raised {type(error).__name__}: {_text(error)}"
        ) from error


def read_as(type_: DataType, stored: Mapping[str, Any], *, what: str, path: str, version: str) -> Any:
    """An object of the type of the code that reads, from what is stored; a final :class:`DataError` if it does not fit.

    ``what`` says what is read, such as ``the result of step charge``, and ``version`` which version of the workflow reads it.
    """
    try:
        return type_.read(stored)
    except Misfit as misfit:
        account, cause = misfit.account(path), misfit.__cause__
    except Exception as error:  # noqa: BLE001 - as above
        account, cause = f"{type_.name} raised {type(error).__name__}: {_text(error)}", error
    raise DataError(
        f"{what} does not fit {type_.name}, as {version} declares it: {account}. It was stored by other code; let "
        f"{type_.name} read it too, and retry the run",
        stored=True,
    ) from cause


def _text(error: Exception) -> str:
    try:
        return shortened(str(error), limit=LONGEST_PATH)
    except Exception:  # noqa: BLE001 - the user's own __str__
        return "what can't be shown"
