"""Lazy fields of values: they are made when first read, since most of a stored run is never looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Self

Makers = Mapping[str, Callable[[], Any]]


class Deferred:
    """A base for frozen dataclasses (without slots) of which some fields are made by functions, each once.

    A field that may be deferred has no default of the class: Python must come to ``__getattr__`` for it. ``far`` names
    the fields whose making asks the store; only ``repr`` does not make them, and shows them as ``...``. A copy or pickle
    is a plain value, with everything made, and without the fields that are not compared: they are means, not data.

    No lock is held while a field is made, as the maker may ask the store. Two threads that ask at once may both make it,
    and one of the two values is kept.
    """

    @classmethod
    def deferred(cls, makers: Makers, *, far: frozenset[str] = frozenset(), **known: Any) -> Self:
        """A value of which ``known`` fields are there and the others are made by ``makers``."""
        value = cls.__new__(cls)
        value.__dict__.update(known, _makers=makers, _far=far)
        return value

    def apart(self, **changes: Any) -> Self:
        """The same value with ``changes``; what can be made is made anew there, so that the two share nothing of it."""
        makers: Makers = self.__dict__.get("_makers", {})
        value = type(self).__new__(type(self))
        value.__dict__.update({name: held for name, held in self.__dict__.items() if name not in makers}, **changes)
        return value

    def is_made(self, name: str) -> bool:
        """Whether this field is there already."""
        return name in self.__dict__

    def __getattr__(self, name: str) -> Any:
        make = self.__dict__.get("_makers", {}).get(name)
        if make is None:
            kind = type(self).__name__
            article = "an" if kind[0] in "AEIOU" else "a"
            raise AttributeError(f"{article} {kind} has no {name!r}", name=name, obj=self)
        return self.__dict__.setdefault(name, make())

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
