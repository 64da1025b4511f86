"""Exceptions of steps: whatever a step raises becomes a failure that can be stored, emitted and shown to Celery.

An exception of a step is the user's object. Python and Celery call its methods to show it, compare it or copy it to
another process. Any of these may raise, or return anything. Then a plain error of this package replaces it.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hephaestus_celery.core.definition import functions
from hephaestus_celery.core.execution.joins import Shortfall
from hephaestus_celery.exceptions import AttemptLostError, DataError, NonRetryableError, StepFailedError
from hephaestus_celery.telemetry.labels import class_name

TEXT_LIMIT = 32 * 1024
"""Characters of a message or a traceback that are kept."""
_FRAMES = 1000
_CHAIN = 100
_OURS = (str(Path(__file__).parent), functions.__file__)
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt failed. Task monitors see ``error``; the telemetry event carries ``reason``."""

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
        name = type_name(reason) if issubclass(type(reason), BaseException) else "Error"
        return {"kind": self.kind, "type": name, "message": self.message, "stacktrace": self.text}

    @property
    def message(self) -> str:
        """The reason as text."""
        return shown(self.reason)

    @property
    def account(self) -> str:
        """The reason as the history shows it: an exception with its type, without which ``KeyError`` and others say little."""
        kind = type(self.reason)
        if not issubclass(kind, BaseException) or issubclass(kind, (AttemptLostError, StepFailedError)):
            return self.message
        name, text = type_name(self.reason), self.message
        return f"{name}: {text}" if text else name


def failed(
    error: BaseException,
    *,
    stop_exceptions: tuple[type[BaseException], ...] = (),
    reserved_exceptions: tuple[type[BaseException], ...] = (),
) -> Failed:
    """Make an exception a failed attempt; its traceback leaves out the frames of the runners.

    ``stop_exceptions`` are those by which a pool interrupts a step. ``reserved_exceptions`` have a meaning of their own for
    the runner. Never raises, whatever the methods of the exception do.
    """
    # By its type: isinstance() would call code of the exception.
    kind = type(error)
    text = _formatted(error)
    harmless = issubclass(kind, Exception) and not issubclass(kind, (MemoryError, *reserved_exceptions))
    return Failed(
        kind="exit"
        if issubclass(kind, (SystemExit, *stop_exceptions))
        else "error"
        if issubclass(kind, Exception)
        else "throw",
        reason=error,
        error=cast("Exception", error) if harmless and text is not None and _can_travel(error) else _stand_in(error),
        retry=not issubclass(kind, NonRetryableError) and not (kind is DataError and cast("DataError", error).stored),
        stacktrace=_frames(error),
        text=_bounded(_plainly(error) if text is None else text),
    )


def lost(reason: str) -> Failed:
    """An attempt whose worker is gone."""
    error = AttemptLostError(reason)
    return Failed(kind="exit", reason=error, error=error, retry=True, stacktrace=None, text=None)


def stuck(step: str, shortfall: Shortfall | None = None) -> Failed:
    """The failure of a run that can't reach ``Done`` any more after ``step``; ``shortfall`` is a counted join that is why."""
    error = StepFailedError(
        f"nothing is left to do after step {step}, and Done was not reached: "
        + (
            "was the workflow changed under this run? A changed workflow needs a new version"
            if shortfall is None
            else str(shortfall)
        )
    )
    return Failed(kind="error", reason=error, error=error, retry=False, stacktrace=None, text=None)


def type_name(value: object) -> str:
    """The name of a value's type, as Python's tracebacks write it."""
    kind = type(value)
    try:
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    except BaseException:  # noqa: BLE001 - a metaclass of the user's
        return class_name(value)


def shown(value: object) -> str:
    """A value of the user as text of limited length; one that can't be shown is named by its type."""
    try:
        text = str.__str__(str(value))
    except BaseException as error:  # noqa: BLE001 - the user's own __str__
        return f"a {class_name(value)} whose str() raised {class_name(error)}"
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}..."


def _stand_in(error: BaseException) -> Exception:
    # It keeps the traceback, which is Python's own object and safe to use.
    plain = StepFailedError(f"{type_name(error)}: {shown(error)}")
    return plain.with_traceback(_part(error, "__traceback__"))


def _frames(error: BaseException) -> list[traceback.FrameSummary] | None:
    try:
        found = traceback.extract_tb(_part(error, "__traceback__"), limit=-_FRAMES)
    except Exception:  # noqa: BLE001 - reading lines of source asks loaders of the user's
        return None
    return [frame for frame in found if not frame.filename.startswith(_OURS)]


def _formatted(error: BaseException) -> str | None:
    # Python's own format; None if formatting is unsafe or fails.
    try:
        if not all(map(_is_plain, _chain(error))):
            return None
        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - it asks the exception for everything that it has
        return None


def _plainly(error: BaseException) -> str:
    lines = [str(frame) for frame in _frames(error) or ()]
    return "\n".join([*lines, f"{type_name(error)}: {shown(error)}"])


def _chain(error: BaseException) -> Iterator[BaseException]:
    # The exceptions that its traceback shows, read from Python's own attributes; ValueError if there are too many.
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        found: Any = waiting.pop()
        if found is None or id(found) in seen:
            continue
        if len(seen) == _CHAIN:
            raise ValueError("an endless chain of exceptions")
        seen.add(id(found))
        waiting += [_part(found, "__cause__"), _part(found, "__context__")]
        if issubclass(type(found), BaseExceptionGroup):
            waiting += cast("Any", BaseExceptionGroup).exceptions.__get__(found)
        yield found


def _is_plain(error: BaseException) -> bool:
    # Whether the exception overrides neither its class nor access to its attributes.
    return getattr(error, "__class__", None) is type(error) and getattr(error, "_hephaestus", _ABSENT) is _ABSENT


def _can_travel(error: BaseException) -> bool:
    # Whether it can be shown and pickled, as Celery does on the way to the log and to its main process.
    try:
        if len(str(error)) > TEXT_LIMIT or len(repr(error)) > TEXT_LIMIT or not error:
            return False
        return type(pickle.loads(pickle.dumps(error))) is type(error)  # noqa: S301 - what this process has just written
    except BaseException:  # noqa: BLE001 - all of it is the user's
        return False


def _part(error: BaseException, name: str) -> Any:
    # Python's own attribute, even if a subclass overrides that name.
    return BaseException.__dict__[name].__get__(error)


def _bounded(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:1024]}\n...\n{text[1024 - TEXT_LIMIT :]}"
