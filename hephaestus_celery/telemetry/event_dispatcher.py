"""Dispatches telemetry events to the handlers that are attached to them.

Knows no workflow.

Laws of this module:

1. A handler's failure never reaches the code that emits.
2. ``execute`` takes no lock: the table of handlers is replaced as a whole, never changed in place, so every
   emission sees the table as it was at one moment, in any thread and on both sides of a fork.
3. What one handler does to the mappings that it is given is not seen by the next one, nor by the emitter.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from hephaestus_celery.clock import SYSTEM_CLOCK, Clock
from hephaestus_celery.telemetry.exception_fields import kind_of, stacktrace_of
from hephaestus_celery.telemetry.handlers import EventName, Handler, HandlerFunction, Table, checked_name
from hephaestus_celery.telemetry.signal_exceptions import is_interruption

HANDLER_FAILURE: Final[EventName] = ("telemetry", "handler", "failure")

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_logger = logging.getLogger("hephaestus_celery.telemetry")

_table = Table(by_event={}, by_id={})
# Held by writers only. Re-entrant, since a signal handler or a finaliser may attach or detach in the very thread
# that is just doing so.
_lock = threading.RLock()


def attach(handler_id: Hashable, event: EventName, function: HandlerFunction, config: Any = None) -> None:
    """Call ``function(event, measurements, metadata, config)`` on every later emission of exactly ``event``.

    Handlers of an event run in the order in which they were attached, in the thread that emits. Raises
    ``AlreadyAttachedError`` where the id is taken, ``ValueError`` for a name that is not a non-empty tuple of
    non-empty strings, ``TypeError`` for a function that cannot be called.
    """
    attach_many(handler_id, [event], function, config)


def attach_many(
    handler_id: Hashable, events: Iterable[EventName], function: HandlerFunction, config: Any = None
) -> None:
    """Attach one function under one id to several events, to all of them or, when it raises, to none.

    A name that comes twice counts once. Raises as ``attach`` does, and ``ValueError`` where there is no event.
    """
    if not callable(function):
        raise TypeError(f"a telemetry handler must be callable, got {function!r} for the id {handler_id!r}")
    names = tuple(dict.fromkeys(checked_name(event) for event in events))
    if not names:
        raise ValueError(f"the telemetry handler {handler_id!r} needs at least one event to listen to")
    added = tuple(Handler(id=handler_id, event_name=name, function=function, config=config) for name in names)
    _change(lambda table: table.attached(added))


def detach(handler_id: Hashable) -> None:
    """Detach the handler from all its events; an emission that has begun may still reach it.

    Raises ``NotAttachedError`` where no handler has this id.
    """
    _change(lambda table: table.detached(handler_id))


def list_handlers(prefix: EventName = ()) -> list[Handler]:
    """One entry per handler and event, for the events whose names begin with ``prefix``."""
    if prefix != ():
        checked_name(prefix)
    length = len(prefix)
    by_event = _table.by_event
    return [handler for name in by_event if name[:length] == prefix for handler in by_event[name]]


def has_handlers(event: EventName) -> bool:
    """Whether anybody listens to this event; asked before an event is built, so that silence costs nothing."""
    return event in _table.by_event


def has_any_handlers() -> bool:
    """Whether anybody listens to any event; asked before events are described."""
    return bool(_table.by_event)


def execute(
    event: EventName,
    measurements: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    *,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Hand the event to the handlers that are attached to exactly this name, one after the other, in this thread.

    Each gets copies of its own of both mappings. A handler that fails is detached from all its events and
    reported: as the event ``("telemetry", "handler", "failure")`` and as an error in the log; the others still run.
    Raises ``ValueError`` for a name that no handler could be attached to. ``clock`` gives the time of that report.
    """
    handlers = _table.by_event.get(checked_name(event))
    if handlers:
        _run(handlers, event, measurements, _NOTHING if metadata is None else metadata, clock)


def _change(change: Callable[[Table], Table]) -> None:
    global _table  # noqa: PLW0603 - the one table of the process; see law 2
    with _lock:
        while True:
            before = _table
            after = change(before)
            # A signal handler of this very thread may have changed the table meanwhile; its change must not be lost.
            if _table is before:
                _table = after
                return


def _run(
    handlers: tuple[Handler, ...],
    event: EventName,
    measurements: Mapping[str, Any],
    metadata: Mapping[str, Any],
    clock: Clock,
) -> None:
    interruption: BaseException | None = None
    for handler in handlers:
        own_measurements, own_metadata = dict(measurements), dict(metadata)
        try:
            handler.function(event, own_measurements, own_metadata, handler.config)
        # A handler that calls sys.exit() has failed like any other: it must not end a worker between the commit of a
        # step and the dispatch of what follows.
        except BaseException as failure:  # noqa: BLE001 - users' code, which may fail in any way
            if is_interruption(failure):
                interruption = failure
            else:
                _report_failure(handler, event, failure, clock)
    if interruption is not None:
        try:
            raise interruption
        finally:
            del interruption  # else this frame and the traceback would keep each other alive


def _report_failure(handler: Handler, event: EventName, failure: BaseException, clock: Clock) -> None:
    _change(lambda table: table.failed(handler))
    # The log is users' code as well (handlers, filters, formatters), and what it raises is no concern of the emitter.
    with contextlib.suppress(Exception):
        _logger.error(
            "telemetry handler %r failed on %s and is detached from all its events",
            handler.id,
            ".".join(event),
            exc_info=failure,
        )
    # A failing handler of the failure event is detached and logged as any other. It is not reported as an event in turn: one
    # that attaches itself again would go on for ever.
    if event != HANDLER_FAILURE and has_handlers(HANDLER_FAILURE):
        execute(
            HANDLER_FAILURE,
            {"monotonic_time": clock.monotonic_ns(), "system_time": clock.time_ns()},
            {
                "event_name": event,
                "handler_id": handler.id,
                "handler_config": handler.config,
                "kind": kind_of(failure),
                "reason": failure,
                "stacktrace": stacktrace_of(failure),
            },
            clock=clock,
        )


def _renew_lock() -> None:
    # The thread that held the lock at the moment of the fork does not exist in the child. The table needs no repair:
    # it is replaced by one assignment, so the child has either the old one or the new one.
    global _lock  # noqa: PLW0603 - see above
    _lock = threading.RLock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_renew_lock)
