"""``task_step``: a Celery task becomes a step, which calls the body of the task in its own process."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import FunctionType
from typing import Any, ClassVar, Never, cast

import celery._state
from celery.app.task import Task
from celery.exceptions import Ignore, Reject, Retry

from hephaestus_celery.core.definition.signatures import spelled, takes, with_source_of
from hephaestus_celery.core.definition.step import Again, Ok, Step, StepConfig, check_step
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.formatting import listed, named
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.retry import RetryPolicy
from hephaestus_celery.core.values.spelling import misspelt, nearest
from hephaestus_celery.exceptions import DefinitionError, NonRetryableError, StepFailedError
from hephaestus_celery.runners.celery import declared_tasks

Arguments = Callable[[Context], Mapping[str, Any]]

_OPTIONS = ("arguments", "key", "event", "retry", "time_limit", "queue", "priority")
_OTHER_WORDS = {
    **dict.fromkeys(["kwargs", "args", "argument", "parameters"], "arguments"),
    **dict.fromkeys(["events"], "event"),
    **dict.fromkeys(["retries", "max_retries", "autoretry_for", "retry_backoff", "default_retry_delay"], "retry"),
    "soft_time_limit": "time_limit",
    "name": "key",
}


_STACK: Any = cast("Any", celery._state)._task_stack  # noqa: SLF001 - Celery's own calls of tasks push to it
"""The tasks that are executed, of which the last is Celery's ``current_task``."""


@dataclass(frozen=True, slots=True)
class _Call:
    """The task of a step, or what stands for it until it is made, and what gives its arguments."""

    task: object
    arguments: Callable[[Context], object] | None


class TaskStep(Step):
    """A step that is a Celery task; ``task_step`` makes a subclass for each."""

    call: ClassVar[_Call]

    def execute(self, instance: Instance, config: StepConfig, context: Context) -> Ok | Again | Awaitable[Ok | Again]:
        """Call the body of the task, and return what it returns as the result."""
        del config
        task = declared_tasks.made(self.call.task)
        given = _given(task, self.call.arguments, context)
        request: dict[str, Any] = {
            "id": instance.idempotency_key(self),
            "retries": instance.step_states[self.key].attempt - 1,
            "args": [],
            "kwargs": given,
            "hostname": _hostname(),
            "called_directly": True,  # so that self.retry() raises, and publishes nothing
        }
        try:
            value = _called(task, given, request)
        except (Retry, Ignore, Reject) as error:
            raise _meaning(task, error) from error
        return self._awaited(task, value) if inspect.isawaitable(value) else self._answer(value)

    async def _awaited(self, task: Any, value: Awaitable[object]) -> Ok | Again:
        try:
            return self._answer(await value)
        except (Retry, Ignore, Reject) as error:
            raise _meaning(task, error) from error

    def _answer(self, value: object) -> Ok | Again:
        if isinstance(value, Again):
            return value
        result = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {"value": value}
        return Ok(self.events[0], result)


def task_step(
    task: object,
    *,
    arguments: Arguments | None = None,
    key: str | None = None,
    event: str = "ok",
    retry: RetryPolicy | None = None,
    time_limit: float | timedelta | None = None,
    queue: str | None = None,
    priority: int | None = None,
    **unknown: Never,
) -> type[Step]:
    """Make a step of a Celery task, which calls the task's own body in the process of the step.

    ``Charge = task_step(charge)``: keep it in a variable, since each call makes another step. No message is sent for the task.
    ``arguments(context)`` gives its keyword arguments, by default all of ``context.initial``. They are checked as ``delay`` does, and
    wrong ones fail the step at once. What the task returns is the result of the step: a mapping as it is, any other value as
    ``{"value": ...}``; an ``Again`` is another round of the step. The step completes with ``event``. Its key is by default the name of the task's function. A ``@shared_task`` is
    looked up when the step is executed, in the current application.

    An exception is a failed attempt, and ``self.retry()`` and ``autoretry_for`` are no more than that: how often and when the step
    is tried again, its ``retry`` says. ``Ignore`` and ``Reject`` fail the step at once; ``Reject(requeue=True)`` is a failed attempt.
    ``self.request`` has an ``id`` that is the same in all attempts (the idempotency key) and the number of ``retries``.

    The base class's own ``__call__`` is called, as in a worker. What belongs to a message of the task does not apply to the step: its
    queue, rate limit, time limits and hooks such as ``before_start`` and ``on_failure``. The step has options of its own.

    Raises ``DefinitionError``, with every problem found, if ``task`` is no task or has no name, or an option is wrong.
    """
    options = {
        "events": (event,),
        "retry": retry,
        "time_limit": time_limit,
        "queue": queue,
        "priority": priority,
        **({} if key is None else {"key": key}),
    }
    found = declared_tasks.read(task)
    problems = [
        *(_unknown_option(name) for name in cast("Mapping[str, object]", unknown)),
        *_arguments_problems(arguments),
    ]
    if isinstance(found, str):
        raise DefinitionError("task_step", [found, *problems])
    body = {
        **options,
        "call": _Call(task, arguments),
        "__module__": found.module,
        "__qualname__": f"task_step({found.title})",
        "__doc__": found.doc,
        "_made_by": ("task_step", task),
        **({} if found.function is None else with_source_of(found.function)),
    }
    step = type(found.title, (TaskStep,), body)
    problems += check_step(step)
    if problems:
        raise DefinitionError(f"task_step({found.title})", problems)
    return step


def _unknown_option(name: str) -> str:
    meant = misspelt(name, _OPTIONS, aliases=_OTHER_WORDS) or nearest(name, _OPTIONS)
    advice = f"did you mean {meant}?" if meant else f"options are {', '.join(_OPTIONS)}"
    return f"{name} is no option of task_step; {advice}"


def _arguments_problems(arguments: object) -> list[str]:
    wanted = "arguments must be a function (context) that returns a mapping of keyword arguments"
    if arguments is None:
        return []
    if not callable(arguments):
        return [f"{wanted}, not {named(arguments)}"]
    if isinstance(arguments, FunctionType) and not takes(arguments, 1):
        return [f"{wanted}, not {spelled(arguments)}"]
    if inspect.iscoroutinefunction(arguments):
        return [f"{wanted}, and {spelled(cast('FunctionType', arguments))} is async"]
    return []


def _given(task: Any, arguments: Callable[[Context], object] | None, context: Context) -> dict[str, Any]:
    found: object = context.initial if arguments is None else arguments(context)
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) for name in cast("Mapping[object, object]", found)
    ):
        raise NonRetryableError(
            f"arguments of the task {task.name} must give a mapping of names to values, not {named(cast('object', found))}"
        )
    given = dict(cast("Mapping[str, Any]", found))
    check = getattr(task, "__header__", None) if task.typing else None  # what delay() checks
    if check is not None:
        try:
            check(**given)
        except TypeError as error:
            names = listed(list(given)) or "none"
            raise NonRetryableError(
                f"the task {task.name} can't be called with the arguments that it is given ({names}): {error}; arguments=... of "
                "task_step chooses them, by default all of the initial context"
            ) from error
    return given


def _called(task: Any, given: Mapping[str, Any], request: Mapping[str, Any]) -> object:
    _STACK.push(task)
    task.push_request(**request)
    try:
        # As a worker does: a `__call__` of the application's own is part of the task, and Celery's would make another request.
        call = task.run if type(task).__call__ is cast("Any", Task).__call__ else task
        return call(**given)
    finally:
        task.pop_request()
        _STACK.pop()


def _hostname() -> str | None:
    outer: Any = _STACK.top
    return None if outer is None else outer.request.hostname


def _meaning(task: Any, error: Retry | Ignore | Reject) -> Exception:
    """What a step makes of an exception that asks Celery for something."""
    if isinstance(error, Retry):
        cause = error.exc or error.__cause__
        why = "" if cause is None else f" after {type(cause).__name__}: {cause}"
        return StepFailedError(f"the task {task.name} asked for a retry{why}")
    reason = error.args[0] if error.args else None
    text = f"the task {task.name} raised {type(error).__name__}{'' if reason is None else f' ({reason})'}, which fails its step"
    again = isinstance(error, Reject) and cast("Any", error).requeue
    return StepFailedError(text) if again else NonRetryableError(text)
