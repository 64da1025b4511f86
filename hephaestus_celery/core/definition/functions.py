"""The decorator ``@step``: a function becomes a step."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, cast, overload

from hephaestus_celery.core.definition.annotations import answer_problems
from hephaestus_celery.core.definition.signatures import with_source_of
from hephaestus_celery.core.definition.step import Answer, Step, StepConfig, check_step, unknown_option
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.formatting import named, shown
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.retry import RetryPolicy
from hephaestus_celery.core.values.spelling import misspelt
from hephaestus_celery.exceptions import DefinitionError

P = ParamSpec("P")
R = TypeVar("R", bound=Answer | Awaitable[Answer])

PARAMETERS = ("instance", "config", "context")
_OTHER_WORDS = {"ctx": "context", "cfg": "config", "conf": "config"}


class _Function:
    """Gives the function of a step's class, with its own type."""

    def __get__(self, step: object, owner: type[FunctionStep[P, R]]) -> Callable[P, R]:
        return cast("Any", owner).plain_function


class FunctionStep(Step, Generic[P, R]):
    """A step that is a function. ``@step`` makes a subclass for each, and its docstring, module and name are the function's."""

    function = _Function()
    """The function itself: ``reserve.function(context)`` calls it as it was written."""
    plain_function: ClassVar[Callable[..., Any]]
    by_position: ClassVar[tuple[str, ...]] = ()
    by_name: ClassVar[tuple[str, ...]] = ()

    if not TYPE_CHECKING:

        def __init__(self, *arguments: object, **options: object) -> None:
            if arguments or options:
                name = type(self).__name__
                raise TypeError(f"{name} is a step, which only workflows execute; call {name}.function(...)")

    def execute(self, instance: Instance, config: StepConfig, context: Context) -> Answer | Awaitable[Answer]:
        """Call the function with those of the arguments that it has a parameter for."""
        given = {"instance": instance, "config": config, "context": context}
        return self.plain_function(
            *(given[name] for name in self.by_position), **{name: given[name] for name in self.by_name}
        )


@overload
def step(function: Callable[P, R], /) -> type[FunctionStep[P, R]]: ...
@overload
def step(
    *,
    events: Sequence[str] = ("ok",),
    key: str | None = None,
    retry: RetryPolicy | None = None,
    time_limit: float | timedelta | None = None,
    queue: str | None = None,
    priority: int | None = None,
) -> Callable[[Callable[P, R]], type[FunctionStep[P, R]]]: ...
def step(
    *functions: object,
    events: Sequence[str] = Step.events,
    key: str | None = None,
    retry: RetryPolicy | None = None,
    time_limit: float | timedelta | None = None,
    queue: str | None = None,
    priority: int | None = None,
    **unknown: object,
) -> Any:
    """Make a step of a function: ``@step``, or ``@step(events=("valid", "invalid"), retry=...)``.

    The function has any of the parameters ``instance``, ``config`` and ``context``, in any order, and may be ``async def``. It
    returns what ``execute`` of a :class:`Step` returns: in short a mapping, None or the name of an event, else an ``Ok``, ``Async``,
    ``Again`` or ``Error``. The options are the attributes of a step; ``key`` is the name of the function by default.

    Its name is that of a ``Step`` class from now on, which workflows use. ``reserve.function(...)`` still calls the function.
    Raises ``DefinitionError``, with every problem found, if the function has any other parameter, or an option is wrong.
    """
    options = {
        "events": events,
        "retry": retry,
        "time_limit": time_limit,
        "queue": queue,
        "priority": priority,
        **({} if key is None else {"key": key}),
    }

    def decorate(function: object) -> type[Step]:
        return _made(function, options, unknown)

    if len(functions) > 1:
        raise DefinitionError(
            "@step", [f"@step takes one function, not {len(functions)} values; its options have names"]
        )
    return decorate(functions[0]) if functions else decorate


def _made(function: object, options: Mapping[str, Any], unknown: Mapping[str, object]) -> type[Step]:
    problem = _no_function(function)
    if problem is not None:
        raise DefinitionError("@step", [problem])
    plain = cast("FunctionType", function)
    parameters = _parameters(plain)
    problems = [
        *(unknown_option(name) for name in unknown),
        *(problem for parameter in parameters if (problem := _parameter_problem(parameter)) is not None),
    ]
    body = {
        **options,
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
        **with_source_of(plain),
        "plain_function": staticmethod(plain),
        "by_position": tuple(each.name for each in parameters if each.kind is each.POSITIONAL_ONLY),
        "by_name": tuple(each.name for each in parameters if each.kind is not each.POSITIONAL_ONLY),
    }
    made = type(plain.__name__, (FunctionStep,), body)
    problems += check_step(made)
    if not problems:
        problems += answer_problems(plain, made.events)
    if not made.events:
        problems.append("events is empty; a step completes with one of its events")
    if problems:
        raise DefinitionError(plain.__qualname__, problems)
    return made


def _no_function(value: object) -> str | None:
    """Why a value can't be a step's function, a sentence; None for a function."""
    kind = type(value)  # isinstance() would evaluate a task that is made later
    if is_of_celery(value):
        return "@step is for functions, and this is a task of Celery: task_step(task) makes a step of it"
    if isinstance(value, type):
        name = value.__name__
        subclass = f"@step is for functions, and {name} is a class: let it be a subclass of Step, without @step"
        return f"{name} is a step already" if issubclass(value, Step) else subclass
    if kind in (staticmethod, classmethod, property) or inspect.ismethod(value):
        return f"@step is for functions, and {shown(value)} is a method; write a function, or a subclass of Step"
    if isinstance(value, FunctionType) or _is_wrapper(value):
        return _unfit(cast("FunctionType", value))
    if callable(value):
        return f"@step is for functions, and {named(value)} is another callable: write a function that calls it"
    return f"@step is for functions, not {named(value)}; its options have names: @step(events=(...), key=...)"


def _is_wrapper(value: object) -> bool:
    # Such as functools.lru_cache makes: an object that stands for the function, with its name.
    wraps = callable(value) and isinstance(getattr(value, "__wrapped__", None), FunctionType)
    return wraps and isinstance(getattr(value, "__name__", None), str)


def _unfit(function: FunctionType) -> str | None:
    if function.__name__ == "<lambda>":
        return "@step names a step by its function, and a lambda has no name: write it with def"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return (
            f"{function.__name__} is a generator, which returns no answer of a step: use return in the place of yield"
        )
    return None


def is_of_celery(value: object) -> bool:
    """Whether a value is a task of Celery, or stands for one that is made later; never evaluates it."""
    return any(each.__module__ in ("celery.local", "celery.app.task") for each in type(value).__mro__)


def hint(value: object) -> str:
    """What to do about a value that stands where a step belongs, as the end of a sentence; empty where nothing helps."""
    if is_of_celery(value):
        return "; task_step makes a step of a task"
    if isinstance(value, FunctionType):
        return f"; put @step over {value.__name__}"
    return ""


def _parameters(function: FunctionType) -> list[inspect.Parameter]:
    # The parameters of a wrapper count, if it has any of its own; else those of what it wraps.
    layer: Any = function
    while True:
        inner = getattr(layer, "__wrapped__", None)
        try:
            found = list(inspect.signature(layer, follow_wrapped=False).parameters.values())
        except ValueError:  # a wrapper that is written in C
            layer = inner
            continue
        if inner is None or not any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in found):
            return found
        layer = inner


def _parameter_problem(parameter: inspect.Parameter) -> str | None:
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return f"{parameter} is no parameter of a step's function: name those of instance, config and context that it needs"
    if name in PARAMETERS:
        return None
    if name in ("self", "cls"):
        return (
            f"{name} is no parameter of a step's function, which is no method; write a function, or a subclass of Step"
        )
    meant = misspelt(name, PARAMETERS, aliases=_OTHER_WORDS)
    advice = (
        f"did you mean {meant}?" if meant else "it may have instance, config and context; data of the run is in context"
    )
    return f"{name} is no parameter of a step's function; {advice}"
