"""How messages are routed: which queue and priority one goes to, and which one it came from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from celery import Celery
from celery.app.routes import MapRoute

from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.core.values.inputs import is_queue
from hephaestus_celery.runners.celery.dispatch import argsrepr, options_of
from hephaestus_celery.runners.celery.headers import CapturedMessage
from hephaestus_celery.runners.messages import Message

logger = logging.getLogger("hephaestus_celery")

HIGHEST_PRIORITY = 255
"""The largest priority that a broker knows."""


class LaneFinder:
    """Finds the lane that a message goes to by the application's routing; None where it is not that of a queue.

    An application may change where a message goes after routing, by an ``apply_async`` or ``send_task`` of its own, a
    receiver of ``before_task_publish``, or the priority of the sending task. The real lane shows when the message is sent,
    and the next message is expected to go there too.
    """

    def __init__(self, app: Celery, *, default_queue: str | None) -> None:
        self._app = app
        self._default_queue = default_queue
        self._known: dict[tuple[object, ...], str | None] = {}
        self._by_name = all(isinstance(route, MapRoute) for route in cast("Any", app.amqp.router).routes)
        self._seen: dict[tuple[object, ...], str] = {}

    @property
    def are_fixed(self) -> bool:
        """Whether all messages of a step have gone, and go, to one lane."""
        return self._by_name and not self._seen

    def find(self, message: Message) -> str | None:
        """The lane of a message; routers that are functions are asked each time."""
        if isinstance(message.prepared, CapturedMessage):
            return lane_of(self._app, message.prepared.place) or self._ask(message)
        kind = _kind(message)
        if kind in self._seen:
            return self._seen[kind]
        if not self._by_name:
            return self._ask(message)
        if kind not in self._known:
            self._known[kind] = self._ask(message)
        return self._known[kind]

    def note_sent(self, message: Message, place: Mapping[str, Any]) -> str | None:
        """Note where a message was sent; gives its lane if the store may expect another."""
        lane = lane_of(self._app, place)
        if lane is None:
            return None
        expected = self.find(message)
        if lane != expected:
            self._seen[_kind(message)] = lane
        # For all but a step's first message, the store expects the lane that the last one came from.
        return None if lane == expected and message.attempt == message.token == 1 else lane

    def _ask(self, message: Message) -> str | None:
        arguments = [message.run_id, str(message.activation), message.attempt, message.token]
        task: Any = cast("Any", self._app).tasks.get(message.task_name)
        chosen = options_of(message, task, self._default_queue)
        try:
            options = cast("Any", self._app.amqp.router).route(chosen, message.task_name, arguments, {})
            queue, priority = options.get("queue"), options.get("priority")
            if queue is None:
                return lane_of(self._app, {**options, "priority": priority})
            return str(Lane(str(getattr(queue, "name", queue)), int(priority or 0)))
        except Exception:  # routers are the user's code; an error is logged when the message is sent
            logger.debug("the queue of the message %s is not known", argsrepr(message), exc_info=True)
            return None


def _kind(message: Message) -> tuple[object, ...]:
    return message.workflow, message.step, message.queue, message.priority


def lane_of(app: Celery, delivery: object) -> str | None:
    """The lane that a message came from, by its ``delivery_info``; None where that does not name one queue."""
    if not isinstance(delivery, Mapping):
        return None
    info = cast("Mapping[str, Any]", delivery)
    exchange, key, priority = info.get("exchange"), info.get("routing_key"), info.get("priority")
    if not is_queue(key):
        return None
    if exchange:
        queues: Mapping[str, Any] = cast("Any", app.amqp.queues)
        found = [name for name, queue in list(queues.items()) if _is_bound(queue, exchange, key)]
        if len(found) != 1:
            return None
        key = found[0]
    return str(Lane(key, priority if type(priority) is int and 0 <= priority <= HIGHEST_PRIORITY else 0))


def _is_bound(queue: Any, exchange: str, key: str) -> bool:
    return queue.exchange is not None and queue.exchange.name == exchange and queue.routing_key == key
