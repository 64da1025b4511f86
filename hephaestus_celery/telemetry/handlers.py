"""The table of attached handlers, a value that is replaced as a whole and never changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from hephaestus_celery.exceptions import HephaestusError

EventName: TypeAlias = tuple[str, ...]
"""The name of an event: a non-empty tuple of non-empty strings."""

HandlerFunction: TypeAlias = Callable[[EventName, dict[str, Any], dict[str, Any], Any], object]
"""``function(event, measurements, metadata, config)``; what it returns is ignored."""


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
    """No handler with this id is attached: it never was, it was detached, or it failed and was detached for that."""

    def __init__(self, handler_id: Hashable) -> None:
        super().__init__(handler_id)
        self.handler_id = handler_id

    def __str__(self) -> str:
        return f"no handler with the id {self.handler_id!r} is attached; list_handlers() shows those that are"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Who listens to what. Each method gives a new table."""

    by_event: Mapping[EventName, tuple[Handler, ...]]
    by_id: Mapping[Hashable, tuple[Handler, ...]]

    def attached(self, added: tuple[Handler, ...]) -> Table:
        """With these handlers, which have one id; ``AlreadyAttachedError`` where that is taken."""
        handler_id = added[0].id
        if handler_id in self.by_id:
            raise AlreadyAttachedError(handler_id)
        by_event = dict(self.by_event)
        for handler in added:
            by_event[handler.event_name] = (*by_event.get(handler.event_name, ()), handler)
        return Table(by_event=by_event, by_id={**self.by_id, handler_id: added})

    def detached(self, handler_id: Hashable) -> Table:
        """Without the handlers of this id; ``NotAttachedError`` where there are none."""
        try:
            removed = self.by_id[handler_id]
        except KeyError:
            raise NotAttachedError(handler_id) from None
        by_event = dict(self.by_event)
        for name in {handler.event_name for handler in removed}:
            left = tuple(handler for handler in by_event[name] if handler.id != handler_id)
            if left:
                by_event[name] = left
            else:
                del by_event[name]  # whether anybody listens is asked by the key alone
        return Table(by_event=by_event, by_id={key: self.by_id[key] for key in self.by_id if key != handler_id})

    def failed(self, handler: Handler) -> Table:
        """Without the id of a handler that has failed, if that handler still has it."""
        # Another thread may have detached it and attached a new one under the same id since: that one did not fail.
        if any(attached is handler for attached in self.by_id.get(handler.id, ())):
            return self.detached(handler.id)
        return self


def checked_name(event: EventName) -> EventName:
    """The name of an event; ``ValueError`` for what can't be one."""
    # Callers without a type checker pass lists and dotted strings, which would be attached and never matched.
    if isinstance(event, tuple) and event:  # pyright: ignore[reportUnnecessaryIsInstance]
        for part in event:
            if not (isinstance(part, str) and part):  # pyright: ignore[reportUnnecessaryIsInstance]
                break
        else:
            return event
    raise ValueError(f"the name of an event is a non-empty tuple of non-empty strings, got {event!r}")
