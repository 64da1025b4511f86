"""Message headers that an application adds: captured where a run is started, repeated by all of its messages.

A package for tenants puts the current tenant into the headers of each message; a tracing agent adds the trace. In a
chain of Celery tasks, each worker that sends the next message has them. But another process sends a retry or a rescue, and
has none of them. So the application itself sends the first message of a run, which is captured just before it leaves. The
run stores the headers that were added. Every later message of the run gets them, after the application has added its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from celery import Celery
from celery.app.amqp import AMQP

from hephaestus_celery.runners.messages import Message

logger = logging.getLogger("hephaestus_celery")

MOST_BYTES = 8192
"""The most bytes of headers that a run stores, as JSON."""

_LEAVE = "_publish"
"""The last method of a kombu producer before the transport; it comes after all that an application wraps around `publish`."""
_STAMPS, _STAMPED = "stamps", "stamped_headers"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedMessage:
    """A message as the application's own way of sending has made it, and whatever it publishes beside it.

    ``place`` is where it goes: see :func:`with_run_headers`.
    """

    publications: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    place: Mapping[str, Any]

    def publish(self, producer: Any) -> None:
        """Send it."""
        for arguments, keywords in self.publications:
            getattr(producer, _LEAVE)(*arguments, **keywords)


class HeaderCapture:
    """Captures what an application adds; ``send(producer, message)`` is the application's own way of sending."""

    def __init__(self, app: Celery, send: Callable[[Any, Message], None]) -> None:
        self._app = app
        self._send = send
        self._protocol: frozenset[str] | None = None
        self._noted: set[str] = set()

    def start_messages(self, messages: Sequence[Message]) -> tuple[list[Message], Mapping[str, Any]]:
        """The messages as the caller's application makes them, and what was added to the headers of the first.

        A message that did not pass the given producer may have left by another; it is sent again.
        """
        prepared: list[Message] = []
        headers: dict[str, Any] | None = None
        for message in messages:
            publications = self._publications(message)
            own = next((arguments for arguments, _ in publications if _headers(arguments, message) is not None), None)
            if own is None:
                prepared.append(message)
                continue
            headers = self._storable(self._added(_headers(own, message) or {})) if headers is None else headers
            prepared.append(replace(message, prepared=CapturedMessage(publications=publications, place=_place(own))))
        return [replace(message, headers=headers or {}) for message in prepared], headers or {}

    def _publications(self, message: Message) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        taken: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def take(*arguments: Any, **keywords: Any) -> None:
            taken.append((arguments, keywords))

        with self._app.producer_or_acquire() as producer, _leaving_by(producer, take):
            self._send(producer, message)
        return taken

    def _added(self, headers: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in headers.items() if self._is_added(name, headers)}

    def _is_added(self, name: object, headers: Mapping[str, Any]) -> bool:
        if name in (_STAMPS, _STAMPED):
            return bool(headers.get(_STAMPED))
        return name not in self._protocol_names()

    def _protocol_names(self) -> frozenset[str]:
        # The headers that Celery itself writes; its next version may have others.
        if self._protocol is None:
            made = cast("Any", AMQP).as_task_v2(self._app.amqp, "id", "name", argsrepr="", kwargsrepr="")
            self._protocol = frozenset({*made.headers, "compression", "redelivered"})
        return self._protocol

    def _storable(self, headers: Mapping[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        room = MOST_BYTES
        for name, value in headers.items():
            try:
                text = json.dumps({name: value}, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                self._note(name, "can't be written as JSON")
                continue
            if len(text) > room:
                self._note(name, f"does not fit into the {MOST_BYTES:,} bytes that are stored of all headers")
                continue
            room -= len(text)
            kept.update(json.loads(text))
        return kept

    def _note(self, name: object, why: str) -> None:
        key = str(name)[:100]
        if key not in self._noted:
            self._noted.add(key)
            logger.warning(
                "the header %r, which this application adds to messages, %s. It is not stored: in later messages of "
                "a run it has the value of the process that sends them",
                key,
                why,
            )


@contextmanager
def with_run_headers(
    producer: Any, message: Message, *, on_sent: Callable[[Mapping[str, Any]], None] | None = None
) -> Generator[None]:
    """Add the headers of a message's run to the message that the block publishes.

    Headers that the run does not have stay as the sender has added them. ``on_sent`` gets the place where the message
    goes, as the ``delivery_info`` of its receiver will have it.
    """
    if not message.headers and on_sent is None:
        yield
        return
    publish = getattr(producer, _LEAVE)

    def lay_over(*arguments: Any, **keywords: Any) -> Any:
        headers = _headers(arguments, message)
        if headers is not None:
            _lay_over(headers, message.headers)
            if on_sent is not None:
                on_sent(_place(arguments))
        return publish(*arguments, **keywords)

    with _leaving_by(producer, lay_over):
        yield


def header_options(message: Message) -> dict[str, Any]:
    """The headers of a message's run as an option of sending, for code that reads them before it adds its own."""
    headers = {name: value for name, value in message.headers.items() if name not in (_STAMPS, _STAMPED)}
    return {"headers": headers} if headers else {}


@contextmanager
def _leaving_by(producer: Any, publish: Callable[..., Any]) -> Generator[None]:
    # A producer from the pool has only one user at a time.
    setattr(producer, _LEAVE, publish)
    try:
        yield
    finally:
        delattr(producer, _LEAVE)


def _headers(arguments: tuple[Any, ...], message: Message) -> dict[str, Any] | None:
    # (body, priority, content type, content encoding, headers, properties, ...), as `publish` passes them.
    headers, properties = cast("tuple[dict[str, Any], dict[str, Any]]", arguments[4:6])
    return headers if properties.get("correlation_id") == message.task_id else None


def _place(arguments: tuple[Any, ...]) -> Mapping[str, Any]:
    return {"priority": arguments[1], "routing_key": arguments[6], "exchange": arguments[9]}


def _lay_over(headers: dict[str, Any], stored: Mapping[str, Any]) -> None:
    stamps: dict[str, Any] = {**(headers.get(_STAMPS) or {}), **(stored.get(_STAMPS) or {})}
    stamped = list(dict.fromkeys([*(headers.get(_STAMPED) or ()), *(stored.get(_STAMPED) or ())]))
    headers.update(stored)
    if stamped:
        headers.update({_STAMPS: stamps, _STAMPED: stamped})
