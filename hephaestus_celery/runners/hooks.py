"""Hooks of an application: code that runs around each attempt, and where a run is started.

Use them for tracing, log context, database connections and application contexts. The error of a hook is logged; it never
fails the step or the start that the hook was called for.
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
"""The bytes that all hooks together may add to the headers of a run, as JSON."""


class Hooks:
    """The hooks of one runtime, called in the order in which they were added. Without hooks, an attempt costs no more."""

    def __init__(self) -> None:
        self._around: tuple[AttemptHook, ...] = ()
        self._starts: tuple[StartHook, ...] = ()

    def around_attempt(self, hook: AttemptHook) -> AttemptHook:
        """Enter the context manager that ``hook(attempt)`` returns around each execution of a step; also a decorator.

        ``attempt`` is a ``HeldAttempt``. The thread (or greenlet) that executes the step enters it, so the step sees its
        ``contextvars``, an ``async def`` one too. Of several hooks, the first one is the outermost. When the attempt has
        failed, it is left with the exception; what its ``__exit__`` returns changes nothing.
        """
        self._around = (*self._around, hook)
        return hook

    def on_start(self, hook: StartHook) -> StartHook:
        """Call ``hook(headers)`` where a run is started, in the caller's context; also a decorator.

        The run stores what the hook adds to this dict, and all messages of the run carry it. Values must be JSON; the
        headers of all hooks together have 8,192 bytes at most.
        """
        self._starts = (*self._starts, hook)
        return hook

    def run(self, attempt: HeldAttempt, execute: Callable[[], StepResult]) -> StepResult:
        """Call ``execute`` inside the context managers of all hooks, and return its result."""
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
        raise  # by which the pool ends the attempt: it counts inside a hook too
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
