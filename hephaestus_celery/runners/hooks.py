"""Hooks of an application: code that runs around each attempt, and where a run is started.

This is the one place into which tracing, log context, database connections and application contexts fit. A hook that
raises is logged; it never fails the step or the start that it was called for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from hephaestus_celery.exceptions import DataError
from hephaestus_celery.runners.attempt import HeldAttempt
from hephaestus_celery.runners.messages import NO_HEADERS
from hephaestus_celery.runners.step_exceptions import Failed
from hephaestus_celery.runners.step_result import StepResult
from hephaestus_celery.storage import codec

logger = logging.getLogger("hephaestus_celery")

AttemptHook = Callable[[HeldAttempt], AbstractContextManager[object]]
StartHook = Callable[[dict[str, Any]], None]

MOST_BYTES = 8192
"""How much one hook may add to the headers of a run, as JSON."""


class Hooks:
    """The hooks of one runtime, in the order in which they were added. Without any, an attempt costs nothing more."""

    def __init__(self) -> None:
        self._around: tuple[AttemptHook, ...] = ()
        self._starts: tuple[StartHook, ...] = ()

    def around_attempt(self, hook: AttemptHook) -> AttemptHook:
        """Enter what ``hook(attempt)`` gives around each execution of a step; also a decorator.

        It is entered in the thread (or greenlet) that executes, and what it sets of ``contextvars`` is seen by the step,
        ``async def`` ones included. Of several, the first one is the outermost. It is left with the exception by which
        the attempt has failed, if it has; what its ``__exit__`` returns changes nothing.
        """
        self._around = (*self._around, hook)
        return hook

    def on_start(self, hook: StartHook) -> StartHook:
        """Call ``hook(headers)`` where a run is started, in the caller's context; also a decorator.

        What it puts into the headers is stored with the run, and carried by all of its messages: values that JSON can
        hold, :data:`MOST_BYTES` at most.
        """
        self._starts = (*self._starts, hook)
        return hook

    def run(self, attempt: HeldAttempt, execute: Callable[[], StepResult]) -> StepResult:
        """Give what ``execute`` gives, inside of all that the hooks enter."""
        if not self._around:
            return execute()
        entered: list[AbstractContextManager[object]] = []
        error: BaseException | None = None
        try:
            for hook in self._around:
                manager = _enter(hook, attempt)
                if manager is not None:
                    entered.append(manager)
            result = execute()
            error = result.error if isinstance(result, Failed) else None
        except BaseException as raised:
            error = raised
            raise
        finally:
            for manager in reversed(entered):
                _leave(manager, error, attempt)
        return result

    def start_headers(self) -> Mapping[str, Any]:
        """What the hooks add to the headers of a run that is about to be stored."""
        if not self._starts:
            return NO_HEADERS
        headers: dict[str, Any] = {}
        for hook in self._starts:
            added = dict(headers)
            try:
                hook(added)
                headers = codec.decode(_encoded(added))
            except Exception:
                logger.exception("the hook %r of a start failed; the run is started without what it adds", hook)
        return headers


def _encoded(headers: Mapping[str, Any]) -> str:
    text = codec.encode(headers)
    if len(text) > MOST_BYTES:
        raise DataError(f"its headers have {len(text):,} bytes as JSON, more than {MOST_BYTES:,}")
    return text


def _enter(hook: AttemptHook, attempt: HeldAttempt) -> AbstractContextManager[object] | None:
    try:
        manager = hook(attempt)
        manager.__enter__()
    except attempt.worker.stop_exceptions:
        raise  # the pool's, to end the attempt: it counts wherever it comes
    except Exception:
        logger.exception("[%s] the hook %r around step %s failed", attempt.instance.id, hook, attempt.step.key)
        return None
    return manager


def _leave(manager: AbstractContextManager[object], error: BaseException | None, attempt: HeldAttempt) -> None:
    try:
        manager.__exit__(None if error is None else type(error), error, None if error is None else error.__traceback__)
    except attempt.worker.stop_exceptions as raised:
        if raised is not error:
            raise
    except Exception as raised:
        if raised is not error:
            logger.exception("[%s] the hook %r around step %s failed", attempt.instance.id, manager, attempt.step.key)
