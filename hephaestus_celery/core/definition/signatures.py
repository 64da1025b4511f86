"""Functions of an application: whether they take the arguments of a call, how they are shown, where their source stands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any


def takes(function: FunctionType, count: int) -> bool:
    """Whether a call with ``count`` arguments by position fits.

    It reads the counts of the code object, which is a hundred times as fast as ``inspect.signature``: definitions may have ten
    thousand steps. For a decorated function, the parameters of the wrapper count, not those of the wrapped function.
    """
    code = function.__code__
    needed = code.co_argcount - len(function.__defaults__ or ())
    if count < needed or (count > code.co_argcount and not code.co_flags & inspect.CO_VARARGS):
        return False
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return all(name in (function.__kwdefaults__ or {}) for name in keywords)


def spelled(function: FunctionType) -> str:
    """A function's name and parameters, as a message shows them: ``execute(self, context)``."""
    signature = inspect.signature(function, follow_wrapped=False)
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    return f"{function.__name__}{inspect.Signature(bare)}"


def with_source_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Attributes of a class that stands for a function: tools that look for the source of the class find the function's.

    ``inspect`` goes by ``__wrapped__`` up to Python 3.12, and by ``__firstlineno__`` since then.
    """
    innermost: Any = inspect.unwrap(function)
    return {"__wrapped__": function, "__firstlineno__": innermost.__code__.co_firstlineno}
