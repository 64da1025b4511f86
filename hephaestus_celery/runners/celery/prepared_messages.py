"""Prepared messages: the store itself puts them on the broker's list, in the script that makes them due.

This needs a broker and a state store in one Redis. Then no message is lost between a commit and its sending, and messages
cost no round trip. Celery and kombu define the format of a message. So a process lets them prepare the first two messages
of a step, down to the command that would send them, which is not executed. The first becomes a template. It is filled in
for the second message, and used only if that gives exactly kombu's text. A message that differs in another way (a
serializer, a compression, a later format) fails the comparison. Then the messages of that step are sent after the commit,
as with any other broker. Steps that are routed alike share a template, once it has passed the comparison for a second
step. So a fan-out of ten thousand steps needs three such messages.

A template has no data of the sender. So it is used only where Celery alone makes the messages, which
:mod:`hephaestus_celery.runners.celery.custom_sending` checks for each, and for runs that were started in such a process.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Any, cast

from celery import Celery

from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance, Clock
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.celery.connections import connect, unreachable
from hephaestus_celery.runners.celery.custom_sending import find_task, is_unmodified, is_unmodified_producer
from hephaestus_celery.runners.celery.dispatch import call_task, options_of
from hephaestus_celery.runners.celery.shared_server import has_uniform_messages, is_broker
from hephaestus_celery.runners.celery.templates import MessageTemplate, gives, template_of
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.publishing import PUBLISHER, must_not_block
from hephaestus_celery.storage.starts import PreparedMessage

logger = logging.getLogger("hephaestus_celery")

_TAG_BITS = 128
_SILENT_NS = 1_000_000_000
"""How long a store that has not answered is not asked again."""
_SPECIMENS = (
    ("01a20351-48e5-7078-aaf5-44dfe4e46366", 1, 1),
    ("01a20351-7f3c-7b01-9c3e-0d6b8f1c2a55", 2, 3),
)
"""Run id, attempt and token of the two messages that are compared and never sent."""


class MessagePreparer:
    """Prepares messages for the state store of ``app``, where that is the broker too; None for those that can't be.

    ``ask`` asks the store something, with a time limit. It is called before kombu asks the broker, since kombu has no
    limit: it would wait for a frozen server for ever.
    """

    def __init__(
        self,
        app: Celery,
        *,
        store: str | None,
        default_queue: str | None,
        ask: Callable[[], object] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Chance = SYSTEM_CHANCE,
    ) -> None:
        self._app = app
        self._chance = chance
        self._ask = ask
        self._clock = clock
        self._silent_until = 0
        self._default_queue = default_queue
        self._possible = is_broker(app, store) and has_uniform_messages(app)
        self._templates: dict[tuple[object, ...], MessageTemplate | None] = {}
        self._shapes: dict[tuple[object, ...], _Shape] = {}
        self._lock = threading.Lock()
        self._learning: set[tuple[object, ...]] = set()

    def prepare(self, message: Message, *, parent: str | None) -> PreparedMessage | None:
        """The message as it stands on the broker's list; ``parent`` is the id of the task that causes it."""
        if not self._possible or message.headers or not is_unmodified(self._app, [message.task_name]):
            return None
        return self.prepare_unmodified(message, parent=parent)

    def prepare_unmodified(self, message: Message, *, parent: str | None) -> PreparedMessage | None:
        """The same, for a caller that has just seen that Celery alone makes this message."""
        if not self._possible or message.headers:
            return None
        template = self._template(message)
        if template is None:
            return None
        tag = f"{self._chance.bits(_TAG_BITS):032x}"
        return PreparedMessage(list=template.list, text=template.fill(message, parent=parent, tag=tag))

    def _template(self, message: Message) -> MessageTemplate | None:
        kind = (os.getpid(), message.workflow, message.step, message.queue, message.priority, message.time_limit)
        try:
            return self._templates[kind]
        except KeyError:
            if (
                must_not_block()
            ):  # learning takes a connection to the broker; until it is done, messages go through kombu
                self._learn_later(kind, message)
                return None
        with self._lock:
            if self._clock.monotonic_ns() < self._silent_until:
                return None
            try:
                template = self._learn(message)
            except StorageError as error:
                # Of many messages that are prepared in a row, not each shall wait for a silent store.
                self._silent_until = self._clock.monotonic_ns() + _SILENT_NS
                logger.debug("no template for %s.%s: %s", message.workflow, message.step, error)
                return None
            except unreachable(self._app) as error:
                # The failure is not remembered: the next message of this step tries again.
                logger.debug("no template for %s.%s: %s", message.workflow, message.step, error)
                return None
            except Exception:
                # Routes and queues are the user's code. The executed step is still committed, and the error is
                # logged when the message is sent after the commit.
                logger.debug("no template for %s.%s", message.workflow, message.step, exc_info=True)
                template = None
            self._templates[kind] = template
        return template

    def _learn_later(self, kind: tuple[object, ...], message: Message) -> None:
        if kind not in self._learning:
            self._learning.add(kind)

            def learn() -> None:
                try:
                    self._template(message)
                finally:
                    self._learning.discard(kind)

            if PUBLISHER.submit(learn) is None:
                self._learning.discard(kind)

    def _learn(self, message: Message) -> MessageTemplate | None:
        kind = self._kind(message)
        shape = self._shapes.get(kind)
        if shape is None:
            shape = self._shapes[kind] = _Shape(self._learn_alone(message))
        elif shape.template is not None and not shape.shared:
            if not self._is_right(shape.template, message):
                shape.template = None  # they look alike here, but their messages differ
            shape.shared = True
        return shape.template

    def _kind(self, message: Message) -> tuple[object, ...]:
        """The key of steps that are routed alike; they share a template."""
        app: Any = self._app
        task = find_task(app, message.task_name)
        chosen = options_of(message, task, self._default_queue)
        routed = app.amqp.router.route(dict(chosen), message.task_name, (), {}, task)
        own: dict[str, Any] = {} if task is None else task._get_exec_options()  # noqa: SLF001 - what send_task looks at, since Celery 5.7
        return (os.getpid(), *(_frozen(options) for options in (chosen, routed, own)))

    def _is_right(self, template: MessageTemplate, message: Message) -> bool:
        run_id, attempt, token = _SPECIMENS[1]
        specimen = replace(message, run_id=run_id, attempt=attempt, token=token)
        match self._prepare(specimen):
            case (queue, text):
                return queue == template.list and gives(template, text, specimen)
            case None:
                return False

    def _learn_alone(self, message: Message) -> MessageTemplate | None:
        first, second = (
            replace(message, run_id=run_id, attempt=attempt, token=token) for run_id, attempt, token in _SPECIMENS
        )
        # One in an empty context and one in the caller's, to find headers that depend on the context.
        prepared = [Context().run(self._prepare, first), self._prepare(second)]
        if None in prepared:
            return None
        [(queue, text), (other_queue, other)] = cast("list[tuple[str, str]]", prepared)
        template = template_of(queue, text, first)
        if template is None or other_queue != queue or not gives(template, other, second):
            logger.info(
                "messages of %s.%s differ in unknown fields, so they are sent after the commit",
                message.workflow,
                message.step,
            )
            return None
        return template

    def _prepare(self, message: Message) -> tuple[str, str] | None:
        recorder = _Recorder()
        with self._app.producer_or_acquire() as producer:
            if self._ask is not None:  # kombu waits for a silent server without end, on an open connection too
                self._ask()
            connect(producer.connection)
            with _recorded(producer, recorder) as possible:
                if not possible or not is_unmodified_producer(producer):
                    return None
                call_task(self._app, producer, message, self._default_queue)
        match recorder.commands:
            case [("lpush", (str() as queue, str() as text))]:
                return queue, text
            case _:  # several queues, a queue whose messages expire, or another kombu
                return None


@dataclass(slots=True)
class _Shape:
    """The template of steps that are routed alike; ``shared`` once it has given the message of a second step."""

    template: MessageTemplate | None
    shared: bool = False


class _Recorder:
    """Replaces a kombu batch, and records the commands that would send a message."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, tuple[Any, ...]]] = []

    def publish(self, channel: Any, message: Any, **arguments: Any) -> None:
        channel.basic_publish(message, _publish_batch=self, **arguments)

    def add(self, name: str, *arguments: Any) -> None:
        self.commands.append((name, arguments))


@contextmanager
def _recorded(producer: Any, recorder: _Recorder) -> Generator[bool]:
    """Record the messages that the block publishes; False if this kombu has no batches."""
    place = getattr(producer, "_batch_local", None)
    if place is None or getattr(producer.channel, "create_publish_batch", None) is None:
        yield False
        return
    place.current = recorder
    try:
        yield True
    finally:
        del place.current


def _frozen(options: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    # Queues and exchanges say all that there is to them.
    return tuple(sorted((name, repr(value)) for name, value in options.items() if value is not None))
