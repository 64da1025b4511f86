"""Lazy fields of values: they are made when first read, since most of a stored run is never read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Self

Makers = Mapping[str, Callable[[], Any]]


class Deferred:
    """A base for frozen dataclasses (without slots) with lazy fields: a function makes the value of each, once.

    A lazy field has no class default, so that Python calls ``__getattr__`` for it. ``far`` names the fields that are read from
    the store; ``repr`` does not read them, and shows them as ``...``. A copy or pickle is a plain value with all fields made.
    It leaves out fields that are not compared, since they hold functions and not data.

    No lock is held while a field is made, since its maker may call the store. Two threads may make a field at once; one of
    the two values is kept.
    """

    @classmethod
    def deferred(cls, makers: Makers, *, far: frozenset[str] = frozenset(), **known: Any) -> Self:
        """A value with these ``known`` fields; ``makers`` make the others."""
        value = cls.__new__(cls)
        value.__dict__.update(known, _makers=makers, _far=far)
        return value

    def apart(self, **changes: Any) -> Self:
        """The same value with ``changes``; its lazy fields are made anew, so that the two values share none of them."""
        makers: Makers = self.__dict__.get("_makers", {})
        value = type(self).__new__(type(self))
        value.__dict__.update({name: held for name, held in self.__dict__.items() if name not in makers}, **changes)
        return value

    def is_made(self, name: str) -> bool:
        """Whether this field has been made."""
        return name in self.__dict__

    def is_far(self, name: str) -> bool:
        """Whether this field would have to be read from the store."""
        return not self.is_made(name) and name in self.__dict__.get("_far", frozenset())

    def _make(self, name: str) -> Any:
        make = self.__dict__.get("_makers", {}).get(name)
        if make is None:
            kind = type(self).__name__
            article = "an" if kind[0] in "AEIOU" else "a"
            raise AttributeError(f"{article} {kind} has no {name!r}", name=name, obj=self)
        return self.__dict__.setdefault(name, make())

    if not TYPE_CHECKING:  # for type checkers a value has its fields, and no others
        __getattr__ = _make

    def __repr__(self) -> str:
        far: frozenset[str] = self.__dict__.get("_far", frozenset())
        shown = [
            f"{one.name}={'...' if one.name in far and not self.is_made(one.name) else repr(getattr(self, one.name))}"
            for one in fields(self)  # type: ignore[arg-type] - every subclass is a dataclass
            if one.repr
        ]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self) if one.compare}  # type: ignore[arg-type] - as above
