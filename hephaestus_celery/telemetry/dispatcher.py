"""Named events and the functions that listen to them. Knows no workflow.

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
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from opcode import opmap
from types import CodeType, MappingProxyType, TracebackType
from typing import Any, Final, Literal, TypeAlias

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.exceptions import HephaestusError

EventName: TypeAlias = tuple[str, ...]
"""The name of an event: a non-empty tuple of non-empty strings."""

HandlerFunction: TypeAlias = Callable[[EventName, dict[str, Any], dict[str, Any], Any], object]
"""``function(event, measurements, metadata, config)``; what it returns is ignored."""

FailureKind: TypeAlias = Literal["error", "exit", "throw"]

HANDLER_FAILURE: Final[EventName] = ("telemetry", "handler", "failure")

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_logger = logging.getLogger("hephaestus_celery.telemetry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One function attached to one event, as ``list_handlers`` shows it."""

    id: Hashable
    event_name: EventName
    function: HandlerFunction
    config: Any


class AlreadyAttachedError(HephaestusError):
    """A handler with this id is attached already; ids are unique over all events."""

    def __init__(self, handler_id: Hashable) -> None:
        super().__init__(handler_id)
        self.handler_id = handler_id

    def __str__(self) -> str:
        return f"a handler with the id {self.handler_id!r} is attached already; detach it first or use another id"


class NotAttachedError(HephaestusError):
    """No handler with this id is attached: it never was, was detached, or failed and was detached for it."""

    def __init__(self, handler_id: Hashable) -> None:
        super().__init__(handler_id)
        self.handler_id = handler_id

    def __str__(self) -> str:
        return f"no handler with the id {self.handler_id!r} is attached; list_handlers() shows those that are"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Who listens to what. Never changed once built."""

    by_event: Mapping[EventName, tuple[Handler, ...]]
    by_id: Mapping[Hashable, tuple[Handler, ...]]


_table = _Table(by_event={}, by_id={})
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
    names = tuple(dict.fromkeys(_checked_name(event) for event in events))
    if not names:
        raise ValueError(f"the telemetry handler {handler_id!r} needs at least one event to listen to")
    added = tuple(Handler(id=handler_id, event_name=name, function=function, config=config) for name in names)
    _change(lambda table: _with(table, added))


def detach(handler_id: Hashable) -> None:
    """Detach the handler from all its events; an emission that has begun may still reach it.

    Raises ``NotAttachedError`` where no handler has this id.
    """
    _change(lambda table: _without(table, _attached(table, handler_id)))


def list_handlers(prefix: EventName = ()) -> list[Handler]:
    """One entry per handler and event, for the events whose names begin with ``prefix``."""
    if prefix != ():
        _checked_name(prefix)
    length = len(prefix)
    by_event = _table.by_event
    return [handler for name in by_event if name[:length] == prefix for handler in by_event[name]]


def has_handlers(event: EventName) -> bool:
    """Whether anybody listens to this event; asked before an event is built, so that silence costs nothing."""
    return event in _table.by_event


def execute(event: EventName, measurements: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Hand the event to the handlers that are attached to exactly this name, one after the other, in this thread.

    Each gets copies of its own of both mappings. A handler that fails is detached from all its events and
    reported: as the event ``("telemetry", "handler", "failure")`` and as an error in the log; the others still run.
    Raises ``ValueError`` for a name that no handler could be attached to.
    """
    handlers = _table.by_event.get(_checked_name(event))
    if handlers:
        _run(handlers, event, measurements, _NOTHING if metadata is None else metadata)


@contextlib.contextmanager
def span(prefix: EventName, metadata: Mapping[str, Any] | None = None) -> Generator[dict[str, Any]]:
    """Emit ``prefix + ("start",)``, run the body, then emit ``prefix + ("stop",)`` or ``prefix + ("exception",)``.

    start measures ``system_time`` and ``monotonic_time``, the other two ``duration`` and ``monotonic_time``, in
    nanoseconds. The body gets a copy of ``metadata``; what it adds there goes along with stop or exception. An
    exception of the body is told with ``kind``, ``reason`` and ``stacktrace``, and goes on. All events of one span
    carry the same ``telemetry_span_context``: the caller's where ``metadata`` has one, else a unique object.
    """
    _checked_name(prefix)
    context = {"telemetry_span_context": object(), **(metadata or _NOTHING)}
    span_context = {"telemetry_span_context": context["telemetry_span_context"]}
    told: dict[str, Any] = dict(metadata or _NOTHING)
    began = SYSTEM_CLOCK.monotonic_ns()
    execute((*prefix, "start"), {"system_time": SYSTEM_CLOCK.time_ns(), "monotonic_time": began}, context)
    try:
        yield told
    except BaseException as reason:  # the body is the caller's code: told whatever ends it, and passed on
        ended = SYSTEM_CLOCK.monotonic_ns()
        failure = {"kind": kind_of(reason), "reason": reason, "stacktrace": stacktrace_of(reason)}
        measurements = {"duration": ended - began, "monotonic_time": ended}
        execute((*prefix, "exception"), measurements, {**told, **span_context, **failure})
        raise
    ended = SYSTEM_CLOCK.monotonic_ns()
    measurements = {"duration": ended - began, "monotonic_time": ended}
    execute((*prefix, "stop"), measurements, {**told, **span_context})


def kind_of(exception: BaseException) -> FailureKind:
    """``error`` for an exception, ``exit`` for ``SystemExit``, ``throw`` for any other ``BaseException``."""
    if isinstance(exception, Exception):
        return "error"
    return "exit" if isinstance(exception, SystemExit) else "throw"


def stacktrace_of(exception: BaseException) -> list[traceback.FrameSummary]:
    """The frames that the exception came through, outermost first; empty where it was never raised."""
    return list(traceback.extract_tb(exception.__traceback__))


def _checked_name(event: EventName) -> EventName:
    # Callers without a type checker pass lists and dotted strings, which would be attached and never matched.
    if isinstance(event, tuple) and event:  # pyright: ignore[reportUnnecessaryIsInstance]
        for part in event:
            if not (isinstance(part, str) and part):  # pyright: ignore[reportUnnecessaryIsInstance]
                break
        else:
            return event
    raise ValueError(f"the name of an event is a non-empty tuple of non-empty strings, got {event!r}")


def _change(change: Callable[[_Table], _Table]) -> None:
    global _table  # noqa: PLW0603 - the one table of the process; see law 2
    with _lock:
        while True:
            before = _table
            after = change(before)
            # A signal handler of this very thread may have changed the table meanwhile; its change must not be lost.
            if _table is before:
                _table = after
                return


def _attached(table: _Table, handler_id: Hashable) -> tuple[Handler, ...]:
    try:
        return table.by_id[handler_id]
    except KeyError:
        raise NotAttachedError(handler_id) from None


def _with(table: _Table, added: tuple[Handler, ...]) -> _Table:
    handler_id = added[0].id
    if handler_id in table.by_id:
        raise AlreadyAttachedError(handler_id)
    by_event = dict(table.by_event)
    for handler in added:
        by_event[handler.event_name] = (*by_event.get(handler.event_name, ()), handler)
    return _Table(by_event=by_event, by_id={**table.by_id, handler_id: added})


def _without(table: _Table, removed: tuple[Handler, ...]) -> _Table:
    handler_id = removed[0].id
    by_event = dict(table.by_event)
    for name in {handler.event_name for handler in removed}:
        left = tuple(handler for handler in by_event[name] if handler.id != handler_id)
        if left:
            by_event[name] = left
        else:
            del by_event[name]  # `has_handlers` asks for the key alone
    return _Table(by_event=by_event, by_id={key: table.by_id[key] for key in table.by_id if key != handler_id})


def _run(
    handlers: tuple[Handler, ...], event: EventName, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
) -> None:
    interruption: BaseException | None = None
    for handler in handlers:
        own_measurements, own_metadata = dict(measurements), dict(metadata)
        try:
            handler.function(event, own_measurements, own_metadata, handler.config)
        # A handler that calls sys.exit() has failed like any other: it must not end a worker between the commit of a
        # step and the dispatch of what follows.
        except BaseException as failure:  # noqa: BLE001 - users' code, which may fail in any way
            if _is_interruption(failure):
                interruption = failure
            else:
                _answer_failure(handler, event, failure)
    if interruption is not None:
        try:
            raise interruption
        finally:
            del interruption  # else this frame and the traceback would keep each other alive


def _answer_failure(handler: Handler, event: EventName, failure: BaseException) -> None:
    _change(lambda table: _without_exactly(table, handler))
    # The log is users' code as well (handlers, filters, formatters), and what it raises is no concern of the emitter.
    with contextlib.suppress(Exception):
        _logger.error(
            "telemetry handler %r failed on %s and is detached from all its events",
            handler.id,
            ".".join(event),
            exc_info=failure,
        )
    # A failing handler of the failure event is detached and logged as any other, but not told of in turn: one that
    # attaches itself again would go on for ever.
    if event != HANDLER_FAILURE and has_handlers(HANDLER_FAILURE):
        execute(
            HANDLER_FAILURE,
            {"monotonic_time": SYSTEM_CLOCK.monotonic_ns(), "system_time": SYSTEM_CLOCK.time_ns()},
            {
                "event_name": event,
                "handler_id": handler.id,
                "handler_config": handler.config,
                "kind": kind_of(failure),
                "reason": failure,
                "stacktrace": stacktrace_of(failure),
            },
        )


def _without_exactly(table: _Table, failed: Handler) -> _Table:
    # Another thread may have detached it and attached a new one under the same id since: that one did not fail.
    attached = table.by_id.get(failed.id, ())
    if any(handler is failed for handler in attached):
        return _without(table, attached)
    return table


def _is_interruption(failure: BaseException) -> bool:
    """Whether the exception came from a signal that struck while a handler ran, not from the handler.

    Ctrl-C, the SystemExit of a SIGTERM and Celery's soft time limit are raised by signal handlers at whatever
    bytecode the main thread is at. A telemetry handler that happens to run at that moment has done nothing wrong, and
    the process was told to stop: so the handler stays, the others run, and the exception goes on to whom it is for.
    """
    if threading.current_thread() is not threading.main_thread():
        return False  # Python runs signal handlers in the main thread only
    frames = list(_frames(failure.__traceback__))
    if isinstance(failure, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Written in C, it leaves no frame: but where it strikes, the last instruction is no `raise`.
        last = frames[-1]
        raising = (opmap["RAISE_VARARGS"], opmap["RERAISE"])
        return last.tb_frame.f_code.co_code[last.tb_lasti] not in raising
    codes = set(_signal_handler_codes())
    return any(frame.tb_frame.f_code in codes for frame in frames)


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _signal_handler_codes() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        code = getattr(signal.getsignal(number), "__code__", None)
        if isinstance(code, CodeType):
            yield code


def _renew_lock() -> None:
    # The thread that held the lock at the moment of the fork does not exist in the child. The table needs no repair:
    # it is replaced by one assignment, so the child has either the old one or the new one.
    global _lock  # noqa: PLW0603 - see above
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_lock)
