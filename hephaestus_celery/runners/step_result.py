"""Calling a step, and making of whatever comes back one of three checked answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hephaestus_celery.core.definition.step import Async, Error, Ok, Step, StepConfig
from hephaestus_celery.core.values.context import check_mapping
from hephaestus_celery.core.values.formatting import listed, named
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.retry import seconds
from hephaestus_celery.exceptions import StepFailedError
from hephaestus_celery.runners import event_loop as loops
from hephaestus_celery.runners.failures import Failed, failed, shown
from hephaestus_celery.storage import codec

_SHOWN = 200  # characters of an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The step gave ``event``; ``result`` and ``metadata`` are JSON texts, None where it gave none."""

    event: str
    result: str | None
    metadata: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The step waits, for ``timeout`` microseconds or without end."""

    timeout: int | None


StepResult = Completed | Waiting | Failed


def call(
    step: type[Step],
    instance: Instance,
    config: Callable[[], StepConfig],
    *,
    limit: int,
    seconds_left: float | None = None,
    stop_exceptions: tuple[type[BaseException], ...] = (),
    reserved_exceptions: tuple[type[BaseException], ...] = (),
) -> StepResult:
    """Run ``step.execute`` to its end. Never raises what the step raises: raising is failing.

    ``config`` gives the step's, as it was given to it; ``limit`` is the size that one value may have; ``seconds_left`` is
    what an ``async def`` may take before it is cancelled; ``stop_exceptions`` and ``reserved_exceptions`` are exceptions of the runner's: see :func:`~hephaestus_celery.runners.failures.failed`.
    """
    try:
        answer: object = step().execute(instance, config(), instance.context)
        if inspect.isawaitable(answer):
            answer = loops.run(answer, seconds=seconds_left)
    except BaseException as error:  # noqa: BLE001 - a step may raise anything, and all of it is a failed attempt
        return failed(error, stop_exceptions=stop_exceptions, reserved_exceptions=reserved_exceptions)
    try:
        return _checked(step, answer, limit=limit)
    except (TypeError, ValueError) as error:  # DataError too: no further attempt mends an answer that may not be given
        return replace(failed(error), retry=False)
    except BaseException as error:  # noqa: BLE001 - mappings of the user's own may raise anything too
        return failed(error, stop_exceptions=stop_exceptions, reserved_exceptions=reserved_exceptions)


def _checked(step: type[Step], answer: object, *, limit: int) -> StepResult:
    match answer:
        case Ok():
            return _check_ok(step, answer, limit=limit)
        case Async():
            return _check_async(step, answer)
        case Error():
            return Failed(
                kind="error",
                reason=answer.reason,
                error=StepFailedError(shown(answer.reason)),
                retry=answer.retry is not False,
                stacktrace=None,
                text=None,
            )
        case _:
            raise TypeError(
                f"{called(step)} answered with {named(answer, limit=_SHOWN)}; it must return Ok, Async or Error"
            )


def _check_ok(step: type[Step], answer: Ok, *, limit: int) -> Completed:
    event: object = answer.event
    if event not in tuple(step.events):
        declared = listed([repr(name) for name in step.events])
        raise ValueError(
            f"{called(step)} gave the event {named(event, limit=_SHOWN)}, which it does not declare ({declared})"
        )
    return Completed(
        event=answer.event,
        result=_encoded(answer.context, f"{called(step)}: context", limit=limit),
        metadata=_encoded(answer.metadata, f"{called(step)}: metadata", limit=limit),
    )


def _check_async(step: type[Step], answer: Async) -> Waiting:
    if answer.timeout is None:
        return Waiting(timeout=None)
    try:
        length = seconds(answer.timeout, name="timeout")
    except ValueError as error:
        raise TypeError(f"{called(step)} answered with Async: {error}") from None
    if length < 0:
        raise ValueError(f"{called(step)} answered with Async(timeout={named(answer.timeout)}), which is negative")
    if "timeout" not in step.events:
        raise ValueError(f"{called(step)} answered with Async(timeout=...), but does not declare the event 'timeout'")
    return Waiting(timeout=round(length * 1_000_000))


def called(step: type[Step]) -> str:
    """A step for a message: its key, which names it in the store, and its class, which names it in the code."""
    return f"step {step.key} ({step.__name__})"


def _encoded(value: Mapping[str, Any] | None, path: str, *, limit: int) -> str | None:
    if value is None:
        return None
    checked = check_mapping(value, path)
    return codec.encode_limited(checked, path, limit=limit) if checked else None
