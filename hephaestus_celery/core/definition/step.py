"""The class ``Step``, and the results that its ``execute`` may return: ``Ok``, ``Error``, ``Async``, ``Again``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, cast

from hephaestus_celery.core.definition.declared_types import bound, declared_type
from hephaestus_celery.core.definition.signatures import spelled, takes
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.data_types import Data
from hephaestus_celery.core.values.declared import DeclaredStep, R_co
from hephaestus_celery.core.values.formatting import named, shown
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.names import LONGEST_KEY, is_key, is_name, is_reserved
from hephaestus_celery.core.values.retry import RetryPolicy, seconds
from hephaestus_celery.core.values.spelling import misspelt, nearest
from hephaestus_celery.exceptions import DataError

StepConfig = Mapping[str, Any] | None

LONGEST_QUEUE, HIGHEST_PRIORITY = 255, 255
"""What a broker's protocol has room for."""

_SNAKE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


OPTIONS = frozenset(["events", "key", "retry", "time_limit", "queue", "priority"])
_METHODS = frozenset(["execute"])
# Other names for our options, which Celery or users use.
_ALIASES = {
    **dict.fromkeys(
        ["retries", "max_retries", "max_attempts", "retry_policy", "default_retry", "autoretry_for"], "retry"
    ),
    **dict.fromkeys(
        ["retry_backoff", "retry_backoff_max", "retry_jitter", "retry_kwargs", "default_retry_delay"], "retry"
    ),
    **dict.fromkeys(["soft_time_limit", "hard_time_limit", "time_limits"], "time_limit"),
    "queue_name": "queue",
}


@dataclass(frozen=True, slots=True)
class Ok:
    """The step completes with ``event``.

    ``context`` (a mapping with string keys, or an object of the type that the step declares) is stored under the step's key;
    ``metadata`` is merged into the instance's ``runtime_metadata``, later keys winning.
    """

    event: str
    context: Data | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Async:
    """The step is not done yet: it waits for ``resume``, or after ``timeout`` (seconds or timedelta) for ``"timeout"``."""

    timeout: float | timedelta | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """The step is not done yet: ``execute`` runs again ``after`` so many seconds (or a timedelta, or 0), in another round.

    ``context.state`` is ``state`` then (a mapping with string keys), or empty without one, and ``context.round`` is one more. No
    attempt is used up, since each round has attempts of its own, and a repeated attempt gets the state of its round. The step
    waits in between: it holds no worker, and no event reaches it.
    """

    after: float | timedelta
    state: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Error:
    """The attempt failed for ``reason``; with ``retry=False`` the remaining attempts are skipped."""

    reason: Any
    retry: bool = True


Result = Ok | Async | Again | Error
Answer = Result | Mapping[str, Any] | str | None
"""What ``execute`` may return: a result, or the short form of an ``Ok``."""


class Step(DeclaredStep[R_co]):
    """One step of a workflow; subclass it and write ``execute``. ``events`` names what it may answer, by default ``"ok"``.

    The class is the step's identity within a workflow. ``execute`` runs at least once per activation: give
    ``instance.idempotency_key(step)`` to outside systems that must not act twice.

    ``Step[Receipt]`` says what type its result has: a pydantic model, a dataclass or a TypedDict. Results are validated and
    stored as JSON, and ``context.result(step)`` gives objects of the type. It needs the extra ``pydantic``.
    """

    events: ClassVar[Sequence[str]] = ("ok",)
    """The names of what ``execute`` may answer, or that ``resume`` may bring."""
    retry: ClassVar[RetryPolicy | None] = None
    """None: the workflow's ``default_retry``."""
    time_limit: ClassVar[float | timedelta | None] = None
    """Seconds or timedelta that one attempt may take; None: no limit."""
    queue: ClassVar[str | None] = None
    """The queue of the step's task; None: the application's routing."""
    priority: ClassVar[int | None] = None
    """The priority of the step's task; None: the application's routing."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "key" not in cls.__dict__:
            cls.key = snake_case(cls.__name__)
        cls.__data_type__ = declared_type(cls, Step)

    if not TYPE_CHECKING:  # checkers know what brackets mean

        def __class_getitem__(cls, given: Any) -> Any:
            """A class of its own for each type, so that it can be named, and stand in a workflow, like any other step."""
            return bound(cls, super().__class_getitem__(given))

    def execute(
        self, instance: Instance, config: StepConfig, context: Context[Any]
    ) -> Answer | R_co | Awaitable[Answer | R_co]:
        """Do the work and return :class:`Ok`, :class:`Async`, :class:`Again` or :class:`Error`; raising is failing.

        Short forms of ``Ok``: a string is ``Ok`` of that event. A mapping, or None, is ``Ok`` of the step's event with that
        result, and so is an object of the type that the step declares; if the step declares several events, it is a failed
        attempt that is not tried again.

        An ``async def`` runs on the one event loop of its process, beside others, and is cancelled when its time is over.
        """
        raise NotImplementedError(f"{type(self).__name__} has no execute")

    @classmethod
    def named(cls, key: str) -> type[Step[R_co]]:
        """A subclass with this key, so that one step can stand twice in a workflow."""
        suffix = f".named({key!r})"
        body = {
            "key": key,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__ + suffix,
            "__doc__": cls.__doc__,
            "_made_by": ("named", cls),
        }
        if "__firstlineno__" in vars(cls):  # since Python 3.13, for tools that look for its source
            body["__firstlineno__"] = vars(cls)["__firstlineno__"]
        return type(cls)(cls.__name__ + suffix, (cls,), body)

    @classmethod
    def check_config(cls, config: StepConfig) -> list[str]:
        """The problems of a config of this step, a sentence each; called when a workflow is defined."""
        del config
        return []

    @classmethod
    def plain_config(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The config as it is stored; for steps whose config may have values that JSON has not."""
        return config

    @classmethod
    def events_for(cls, config: StepConfig) -> tuple[str, ...]:
        """The events that need a transition if the step has this config."""
        del config
        return tuple(cls.events)

    @classmethod
    def resume_events(cls, config: StepConfig) -> dict[str, str]:
        """The events that ``resume`` may deliver while the step waits: each name, and the step's own event for it."""
        del config
        return {event: event for event in cls.events}


def snake_case(name: str) -> str:
    """``ValidateOrder`` -> ``validate_order``, ``HTTPCheck2`` -> ``http_check2``."""
    return _SNAKE.sub("_", name).lower()


def is_step(value: object) -> bool:
    """Whether ``value`` is a step class that can run: it has an ``execute`` of its own and declares events."""
    if not (isinstance(value, type) and issubclass(value, Step)):
        return False
    step = cast("type[Step[Any]]", value)
    return step.execute is not Step.execute and bool(step.events)


def check_step_key(step: type[Step[Any]] | str | None) -> str | None:
    """The key of a step that is given by its class or by its key; None for None. ``DataError`` for anything else."""
    given: object = step
    key: object = given.key if isinstance(given, type) and issubclass(given, Step) else given
    if key is None or (isinstance(key, str) and is_key(key)):
        return key
    raise DataError(f"step must be a step class or its key, not {named(step)}")


def check_step(step: type[Step[Any]]) -> list[str]:
    """What is wrong with the step's own declarations, a sentence each."""
    return [*check_events(step), *_check_key(step), *_check_options(step), *_check_calls(step), *check_spelling(step)]


def check_spelling(step: type[Step[Any]]) -> list[str]:
    """The attributes of a step that are named almost like one that is read, a sentence each; all others are its own."""
    problems: dict[str, None] = {}
    for ancestor in step.__mro__:
        if ancestor is Step:
            break
        for name, value in vars(ancestor).items():
            if name.startswith("_") or name.isupper():
                continue
            code = isinstance(value, FunctionType)
            meant = misspelt(name, _METHODS) if code else misspelt(name, OPTIONS, aliases=_ALIASES)
            if meant is not None:
                problems[f"step {ancestor.__name__}: {name} is no option of a step; did you mean {meant}?"] = None
    return list(problems)


def unknown_option(name: str) -> str:
    """What to say of an option that steps do not have, a sentence."""
    meant = misspelt(name, OPTIONS, aliases=_ALIASES) or nearest(name, OPTIONS)
    return f"{name} is no option of a step; " + (
        f"did you mean {meant}?" if meant else f"options are {', '.join(sorted(OPTIONS))}"
    )


def same_call(one: type[Step[Any]], other: type[Step[Any]]) -> str | None:
    """The name of the function that has made both classes, in two calls about the same, as ``named`` does; else None."""
    (call, of), (other_call, of_other) = (vars(step).get("_made_by", (None, None)) for step in (one, other))
    return call if call == other_call and of is of_other and one.key == other.key else None


def check_events(step: type[Step[Any]]) -> list[str]:
    """What is wrong with the events that the step declares, a sentence each."""
    events: object = step.events
    if not isinstance(events, (tuple, list)):
        return [f"step {step.__name__}: events must be a tuple or list of names, not {shown(events)}"]
    problems = [
        f"step {step.__name__}: {shown(event)} can't name an event ({_rule_of_names(event)})"
        for event in events
        if not is_name(event)
    ]
    if not problems and len(set(events)) < len(events):
        problems.append(f"step {step.__name__}: events has a name twice: {shown(events)}")
    return problems


def _rule_of_names(event: object) -> str:
    if is_reserved(event):
        return "names that begin with @ are the engine's"
    return "a string of 1 to 100 characters without white space or |"


def _check_key(step: type[Step[Any]]) -> list[str]:
    key: object = step.key
    if is_key(key):
        return []
    rule = f"a string of 1 to {LONGEST_KEY} printable characters without white space or |"
    return [f"step {step.__name__}: {shown(key)} can't be its key ({rule})"]


def _check_calls(step: type[Step[Any]]) -> list[str]:
    """Signatures that would raise whenever the step is executed; only plain functions are checked."""
    problems: list[str] = []
    execute = inspect.getattr_static(step, "execute")
    if isinstance(execute, FunctionType) and not takes(execute, 4):
        wanted = "execute(self, instance, config, context)"
        problems.append(f"step {step.__name__}: {spelled(execute)} must be {wanted}")
    make = inspect.getattr_static(step, "__init__")
    if isinstance(make, FunctionType) and not takes(make, 1):
        problems.append(
            f"step {step.__name__}: {spelled(make)} wants arguments, and steps are made without any; what a step needs "
            "comes with its config or the context"
        )
    return problems


def _check_options(step: type[Step[Any]]) -> list[str]:
    problems: list[str] = []
    retry: object = step.retry
    if retry is not None and not isinstance(retry, RetryPolicy):
        problems.append(f"step {step.__name__}: retry must be a RetryPolicy or None, not {shown(retry)}")
    if step.time_limit is not None:
        try:
            if seconds(step.time_limit, name="time_limit") <= 0:
                problems.append(
                    f"step {step.__name__}: time_limit must be more than nothing, not {shown(step.time_limit)}"
                )
        except ValueError as error:
            problems.append(f"step {step.__name__}: {error}")
    queue: object = step.queue
    if queue is not None and not (isinstance(queue, str) and 0 < len(queue) <= LONGEST_QUEUE and queue.isprintable()):
        problems.append(
            f"step {step.__name__}: queue must be the name of a queue (1 to {LONGEST_QUEUE} printable characters) or None, "
            f"not {shown(queue)}"
        )
    priority: object = step.priority
    if priority is not None and (
        isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= HIGHEST_PRIORITY
    ):
        problems.append(
            f"step {step.__name__}: priority must be an int from 0 to {HIGHEST_PRIORITY} or None, not {shown(priority)}"
        )
    return problems
