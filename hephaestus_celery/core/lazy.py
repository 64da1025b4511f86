"""A mapping that is made when it is first looked into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

Value = TypeVar("Value")


class LazyMapping(Mapping[str, Value]):
    """Read-only, and equal to the mapping that ``make`` gives: most steps never look at where the others stand."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Mapping[str, Value]]) -> None:
        self._make = make
        self._made: Mapping[str, Value] | None = None

    def __getitem__(self, key: str) -> Value:
        return self._mapping()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping())

    def __len__(self) -> int:
        return len(self._mapping())

    def __repr__(self) -> str:
        return repr(self._mapping())

    def _mapping(self) -> Mapping[str, Value]:
        if self._made is None:
            self._made = self._make()
        return self._made
