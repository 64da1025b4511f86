"""The result of executing a step (completed, waiting, another round, failed), and the check of what ``execute`` returned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from hephaestus_celery.core.definition.step import Again, Async, Error, Ok, Step
from hephaestus_celery.core.values.data_types import Data, accepted
from hephaestus_celery.core.values.formatting import listed, named
from hephaestus_celery.core.values.json_values import check_mapping
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.core.values.retry import seconds
from hephaestus_celery.exceptions import StepFailedError
from hephaestus_celery.runners.step_exceptions import Failed, shown
from hephaestus_celery.storage import codec

_SHOWN = 200  # characters of what a step returned


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The step gave ``event``; ``result`` and ``metadata`` are JSON texts, None where it gave none.

    ``failed`` is the failure that a ``FAILED`` transition takes, and whose event and result these are.
    """

    event: str
    result: str | None
    metadata: str | None
    failed: Failed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The step waits, for ``timeout`` microseconds or without end."""

    timeout: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnotherRound:
    """The step is executed again ``after`` so many microseconds; ``state`` is the JSON text that this round is given, if any."""

    after: int
    state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """The event that was delivered to the step does not fit its type: it is dropped for this ``reason``, and the step waits on."""

    event: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The result of a run, which its workflow has computed: ``text`` is JSON, None where it is empty; or that has ``failed``."""

    text: str | None = None
    failed: Failed | None = None


StepResult = Completed | Waiting | AnotherRound | Discarded | Failed
"""Whatever an execution comes to; every exception on the way to a commit is made a :class:`Failed`."""


def as_event(result: Failed) -> Completed:
    """A failure for good as the event that a ``FAILED`` transition takes."""
    failure = {name: text for name, text in result.failure.items() if name != "stacktrace"}
    return Completed(event=FAILED, result=codec.encode(failure), metadata=None, failed=result)


def check(step: type[Step[Any]], returned: object, *, limit: int) -> StepResult:
    """Check what ``execute`` returned; ``TypeError``, ``ValueError`` or ``DataError`` if it is invalid.

    ``limit`` is the size that one value may have, in bytes of JSON.
    """
    match returned:
        case Ok():
            return _check_ok(step, returned, limit=limit)
        case str():
            return _check_ok(step, Ok(returned), limit=limit)
        case None | Mapping():
            answer = cast("Mapping[str, Any] | None", returned)
            return _check_ok(step, Ok(_only_event(step, answer), answer), limit=limit)
        case Async() | Again() | Error():
            return _check_unfinished(step, returned, limit=limit)
        case _ if step.__data_type__ is not None and step.__data_type__.holds(returned):
            return _check_ok(step, Ok(_only_event(step, returned), cast("Data", returned)), limit=limit)
        case _:
            raise TypeError(
                f"{called(step)} returned {named(returned, limit=_SHOWN)}; it must return Ok, Async, Again or Error, or in short "
                "a mapping, None or the name of an event"
            )


def _check_unfinished(step: type[Step[Any]], returned: Async | Again | Error, *, limit: int) -> StepResult:
    match returned:
        case Async():
            return _check_async(step, returned)
        case Again():
            return _check_again(step, returned, limit=limit)
        case Error():
            return _check_error(step, returned)


def _only_event(step: type[Step[Any]], returned: object) -> str:
    """The event that a step means which returns no event."""
    if len(step.events) == 1:
        return step.events[0]
    declared = listed([repr(name) for name in step.events])
    raise TypeError(
        f"{called(step)} returned {named(returned, limit=_SHOWN)} without an event, and it declares several ({declared}): return "
        "Ok(event, ...), or the name of an event"
    )


def _check_ok(step: type[Step[Any]], returned: Ok, *, limit: int) -> Completed:
    event: object = returned.event
    if event not in tuple(step.events):
        declared = listed([repr(name) for name in step.events])
        raise ValueError(
            f"{called(step)} gave the event {named(event, limit=_SHOWN)}, which it does not declare ({declared})"
        )
    return Completed(
        event=returned.event,
        result=_result(step, returned.context, f"{called(step)}: context", limit=limit),
        metadata=_encoded(returned.metadata, f"{called(step)}: metadata", limit=limit),
    )


def _check_async(step: type[Step[Any]], returned: Async) -> Waiting:
    if returned.timeout is None:
        return Waiting(timeout=None)
    try:
        length = seconds(returned.timeout, name="timeout")
    except ValueError as error:
        raise TypeError(f"{called(step)} returned Async: {error}") from None
    if length < 0:
        raise ValueError(f"{called(step)} returned Async(timeout={named(returned.timeout)}), which is negative")
    if "timeout" not in step.events:
        raise ValueError(f"{called(step)} returned Async(timeout=...), but does not declare the event 'timeout'")
    return Waiting(timeout=round(length * 1_000_000))


def _check_again(step: type[Step[Any]], returned: Again, *, limit: int) -> AnotherRound:
    try:
        length = seconds(returned.after, name="after")
    except ValueError as error:
        raise TypeError(f"{called(step)} returned Again: {error}") from None
    if length < 0:
        raise ValueError(f"{called(step)} returned Again(after={named(returned.after)}), which is negative")
    state = _encoded(returned.state, f"{called(step)}: state", limit=limit)
    # What is not nothing takes some time: it is waited for.
    return AnotherRound(after=math.ceil(length * 1_000_000), state=state)


def _check_error(step: type[Step[Any]], returned: Error) -> Failed:
    retry: object = returned.retry
    if not isinstance(retry, bool):
        raise TypeError(f"{called(step)} gave Error with retry={named(retry)}, which must be True or False")
    return Failed(
        kind="error",
        reason=returned.reason,
        error=StepFailedError(shown(returned.reason)),
        retry=retry,
        stacktrace=None,
        text=None,
    )


def called(step: type[Step[Any]]) -> str:
    """The name of a step in an error: its key, which the store uses, and its class, which the code uses."""
    return f"step {step.key} ({step.__name__})"


def _result(step: type[Step[Any]], given: object, path: str, *, limit: int) -> str | None:
    type_ = step.__data_type__
    if type_ is None:
        return _encoded(given, path, limit=limit)
    if given is None and len(step.events) > 1:
        return None  # one of its answers that come without a result
    stored = accepted(type_, {} if given is None else given, path)
    return codec.encode_limited(stored, path, limit=limit)


def _encoded(value: object, path: str, *, limit: int) -> str | None:
    if value is None:
        return None
    checked = check_mapping(value, path)
    return codec.encode_limited(checked, path, limit=limit) if checked else None


def delivered(step: type[Step[Any]], event: str, data: str, *, limit: int) -> Completed:
    """What a step comes to by an event from outside with this ``data``, which are of the type that the step declares.

    An event without data is not checked where a step has several events. ``DataError`` if it does not fit.
    """
    type_ = step.__data_type__
    if type_ is None or (data == "{}" and len(step.events) > 1):
        return Completed(event=event, result=None if data == "{}" else data, metadata=None)
    fits = accepted(type_, codec.decode(data), "data")
    return Completed(event=event, result=codec.encode_limited(fits, "data", limit=limit), metadata=None)
