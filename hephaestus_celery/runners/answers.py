"""Calling a step, and making of whatever comes back one of three checked answers."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hephaestus_celery.core.context import check_mapping
from hephaestus_celery.core.instance import Instance
from hephaestus_celery.core.retry import seconds
from hephaestus_celery.core.step import Async, Error, Ok, Step, StepConfig
from hephaestus_celery.exceptions import AttemptLostError, NonRetryableError, StepFailedError
from hephaestus_celery.storage import codec

_TEXT_LIMIT = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The step gave ``event``; ``result`` and ``metadata`` are JSON texts, None where it gave none."""

    event: str
    result: str | None
    metadata: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """The step waits, for ``timeout`` microseconds or without end."""

    timeout: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt failed. ``error`` is what a task monitor is to see of it, ``reason`` what telemetry tells."""

    kind: str
    reason: object
    error: Exception
    retry: bool
    stacktrace: list[traceback.FrameSummary] | None
    text: str | None

    @property
    def failure(self) -> dict[str, str | None]:
        """The fields of ``Instance.failure``."""
        reason = self.reason
        name = _type_name(type(reason)) if isinstance(reason, BaseException) else "Error"
        return {"kind": self.kind, "type": name, "message": self.message, "stacktrace": self.text}

    @property
    def message(self) -> str:
        """The reason as text."""
        return _shown(self.reason)

    @property
    def account(self) -> str:
        """The reason as the history gives it: an exception with its type, which some say nothing without (``KeyError``)."""
        if not isinstance(self.reason, BaseException) or isinstance(self.reason, (AttemptLostError, StepFailedError)):
            return self.message
        name, text = _type_name(type(self.reason)), self.message
        return f"{name}: {text}" if text else name


Answer = Completed | Suspended | Failed


def call(
    step: type[Step],
    instance: Instance,
    config: StepConfig,
    *,
    limit: int,
    exits: tuple[type[BaseException], ...],
) -> Answer:
    """Run ``step.execute`` to its end. Never raises what the step raises: raising is failing.

    ``limit`` is the size that one value may have; ``exits`` are exceptions of the runner's that mean that the step was
    told to stop.
    """
    try:
        answer: object = step().execute(instance, config, instance.context)
        if inspect.isawaitable(answer):
            answer = asyncio.run(_awaited(answer))
    except BaseException as error:  # noqa: BLE001 - a step may raise anything, and all of it is a failed attempt
        return failed(error, exits=exits)
    try:
        return _checked(step, answer, limit=limit)
    except (TypeError, ValueError) as error:  # DataError too: no further attempt mends an answer that may not be given
        return replace(failed(error), retry=False)
    except BaseException as error:  # noqa: BLE001 - mappings of the user's own may raise anything too
        return failed(error, exits=exits)


def failed(error: BaseException, *, exits: tuple[type[BaseException], ...] = ()) -> Failed:
    """An exception as a failed attempt, its own frames without those of this module."""
    kind = "exit" if isinstance(error, (SystemExit, *exits)) else "error" if isinstance(error, Exception) else "throw"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    text = "".join(traceback.format_exception(error))
    visible = error if isinstance(error, Exception) else StepFailedError(f"{type(error).__name__}: {_shown(error)}")
    return Failed(
        kind=kind,
        reason=error,
        error=visible,
        retry=not isinstance(error, NonRetryableError),
        stacktrace=frames,
        text=text if len(text) <= _TEXT_LIMIT else f"{text[:1024]}\n...\n{text[1024 - _TEXT_LIMIT :]}",
    )


def lost(reason: str) -> Failed:
    """An attempt whose worker is gone."""
    error = AttemptLostError(reason)
    return Failed(kind="exit", reason=error, error=error, retry=True, stacktrace=None, text=None)


def stuck(step: str) -> Failed:
    """The failure of a run that has nothing left to do after ``step``, and has not reached ``Done``."""
    error = StepFailedError(
        f"nothing is left to do after step {step}, and Done was not reached: was the workflow changed under this run? "
        "A changed workflow needs a new version"
    )
    return Failed(kind="error", reason=error, error=error, retry=False, stacktrace=None, text=None)


async def _awaited(answer: Any) -> object:
    return await answer


def _checked(step: type[Step], answer: object, *, limit: int) -> Answer:
    match answer:
        case Ok():
            return _check_ok(step, answer, limit=limit)
        case Async():
            return _check_async(step, answer)
        case Error():
            return Failed(
                kind="error",
                reason=answer.reason,
                error=StepFailedError(_shown(answer.reason)),
                retry=answer.retry is not False,
                stacktrace=None,
                text=None,
            )
        case _:
            raise TypeError(f"{called(step)} answered with {answer!r}; it must return Ok, Async or Error")


def _check_ok(step: type[Step], answer: Ok, *, limit: int) -> Completed:
    event: object = answer.event
    if event not in tuple(step.events):
        declared = ", ".join(repr(name) for name in step.events)
        raise ValueError(f"{called(step)} gave the event {event!r}, which it does not declare ({declared})")
    return Completed(
        event=answer.event,
        result=_encoded(answer.context, f"{called(step)}: context", limit=limit),
        metadata=_encoded(answer.metadata, f"{called(step)}: metadata", limit=limit),
    )


def _check_async(step: type[Step], answer: Async) -> Suspended:
    if answer.timeout is None:
        return Suspended(timeout=None)
    try:
        length = seconds(answer.timeout, name="timeout")
    except ValueError as error:
        raise TypeError(f"{called(step)} answered with Async: {error}") from None
    if length < 0:
        raise ValueError(f"{called(step)} answered with Async(timeout={answer.timeout!r}), which is negative")
    if "timeout" not in step.events:
        raise ValueError(f"{called(step)} answered with Async(timeout=...), but does not declare the event 'timeout'")
    return Suspended(timeout=round(length * 1_000_000))


def called(step: type[Step]) -> str:
    """A step for a message: its key, which names it in the store, and its class, which names it in the code."""
    return f"step {step.key} ({step.__name__})"


def _encoded(value: Mapping[str, Any] | None, path: str, *, limit: int) -> str | None:
    if value is None:
        return None
    checked = check_mapping(value, path)
    return codec.encode_limited(checked, path, limit=limit) if checked else None


def _type_name(kind: type) -> str:
    # As Python's tracebacks do.
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _shown(value: object) -> str:
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001 - the user's own __str__
        return f"a {type(value).__name__} whose str() raised {type(error).__name__}"
    return text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}..."
