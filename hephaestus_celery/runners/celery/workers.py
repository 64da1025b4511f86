"""Queues and workers of an application: where a message goes, where it came from, how much waits, who holds what."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from celery import Celery
from celery.app.routes import MapRoute
from celery.worker import state
from celery.worker.request import Request
from kombu.exceptions import OperationalError

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.core.values.inputs import is_queue, is_task_id
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.celery.dispatch import argsrepr, connect, options_of
from hephaestus_celery.runners.celery.forking import undisturbed
from hephaestus_celery.runners.celery.headers import Prepared
from hephaestus_celery.runners.celery.task import StepTask
from hephaestus_celery.runners.lost_messages import all_holdings
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.workers import BrokerAwayError, Holdings, attempt_of
from hephaestus_celery.storage.port import Storage

logger = logging.getLogger("hephaestus_celery")

MOST_LISTED = 500
"""Messages that a worker lists in a report; of the tasks of others it says only that there are many."""
_REPORTS = 3  # that may be missed before a worker counts as gone
_IDLE = 10.0  # seconds, at least, until a report is repeated that says that nothing is held: such a worker may be gone unnoticed


class LaneFinder:
    """Tells the lane that a message goes to, as the application's routing says it; None where that is not a queue's.

    What an application puts between its routing and the broker (an ``apply_async`` or ``send_task`` of its own, a receiver
    that is told before each message is published, the priority of the task that sends) may send it elsewhere. That shows
    when it is sent, and the next one is thought to go there too.
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
        if isinstance(message.prepared, Prepared):
            return lane_of(self._app, message.prepared.place) or self._ask(message)
        kind = _kind(message)
        if kind in self._seen:
            return self._seen[kind]
        if not self._by_name:
            return self._ask(message)
        if kind not in self._known:
            self._known[kind] = self._ask(message)
        return self._known[kind]

    def see(self, message: Message, place: Mapping[str, Any]) -> str | None:
        """Where a message was sent: its lane, where that may be another than the store has been told."""
        lane = lane_of(self._app, place)
        if lane is None:
            return None
        thought = self.find(message)
        if lane != thought:
            self._seen[_kind(message)] = lane
        # Of any but the first of a step, the store thinks that it goes where the last one came from.
        return None if lane == thought and message.attempt == message.token == 1 else lane

    def _ask(self, message: Message) -> str | None:
        arguments = [message.run_id, message.step, message.attempt, message.token]
        task: Any = cast("Any", self._app).tasks.get(message.task_name)
        chosen = options_of(message, task, self._default_queue)
        try:
            options = cast("Any", self._app.amqp.router).route(chosen, message.task_name, arguments, {})
            queue, priority = options.get("queue"), options.get("priority")
            if queue is None:
                return lane_of(self._app, {**options, "priority": priority})
            return str(Lane(str(getattr(queue, "name", queue)), int(priority or 0)))
        except Exception:  # routers are the user's code; what is wrong is told when the message is sent
            logger.debug("it is not known where %s goes", argsrepr(message), exc_info=True)
            return None


def _kind(message: Message) -> tuple[object, ...]:
    return message.workflow, message.step, message.queue, message.priority


_HIGHEST = 255  # the largest priority that a broker knows


def lane_of(app: Celery, delivery: object) -> str | None:
    """The lane that a message came from, by its ``delivery_info``; None where that does not name one queue."""
    if not isinstance(delivery, Mapping):
        return None
    said = cast("Mapping[str, Any]", delivery)
    exchange, key, priority = said.get("exchange"), said.get("routing_key"), said.get("priority")
    if not is_queue(key):
        return None
    if exchange:
        queues: Mapping[str, Any] = cast("Any", app.amqp.queues)
        found = [name for name, queue in list(queues.items()) if _is_bound(queue, exchange, key)]
        if len(found) != 1:
            return None
        key = found[0]
    return str(Lane(key, priority if type(priority) is int and 0 <= priority <= _HIGHEST else 0))


def _is_bound(queue: Any, exchange: str, key: str) -> bool:
    return queue.exchange is not None and queue.exchange.name == exchange and queue.routing_key == key


class CeleryFleet:
    """The workers of an application, as they report, and its broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def holdings(self, storage: Storage) -> Sequence[Holdings]:
        """What each living worker holds."""
        return all_holdings(storage)

    def length(self, lane: Lane) -> int | None:
        """How many messages wait in the queue, on Redis those of the priority alone."""
        with self._app.connection_for_read() as connection:
            transport = connection.transport
            try:
                connect(connection)
                channel: Any = connection.default_channel
                if transport.driver_type == "redis":
                    listed = channel._q_for_pri(lane.queue, lane.priority)  # noqa: SLF001 - kombu tells it in no other way
                    return channel.client.llen(listed)
                return channel.queue_declare(lane.queue, passive=True).message_count
            except transport.channel_errors:
                return 0  # there is no such queue
            except (OperationalError, OSError, *transport.connection_errors) as error:
                raise BrokerAwayError(str(error)) from error

    def counted(self, lane: Lane) -> Sequence[Lane]:
        """Elsewhere than on Redis a queue says how much it has of all priorities together."""
        with self._app.connection_for_read() as connection:
            if connection.transport.driver_type == "redis":
                return [lane]
        return [Lane(lane.queue, priority) for priority in range(_HIGHEST + 1)]


class Reporter:
    """A thread of a worker's main process that says what the worker holds, every ``interval`` seconds.

    Apart from the scheduler's: that may be kept by a broker that is away, and a worker that is silent counts as gone.
    """

    def __init__(
        self, storage: Callable[[], Storage], *, app: Celery, consumer: Any, name: str, interval: float
    ) -> None:
        self._storage = storage
        self._app, self._consumer = app, consumer
        self._name = name
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hephaestus-reports", daemon=True)
        self._said: Holdings | None = None
        self._said_at = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it; the worker counts as gone."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        storage: Storage | None = None
        while True:
            gone = self._stopping.is_set()
            try:
                with undisturbed():
                    storage = storage or self._storage().separate()
                    if gone:
                        storage.report(self._name, None, lifetime=0)
                    else:
                        self._say(storage, holdings_of(self._app, self._consumer))
            except StorageError as error:
                logger.debug("what this worker holds can't be reported: %s", error)
            except Exception:  # what is looked into here is Celery's own
                logger.exception("what this worker holds can't be told")
            if gone:
                break
            self._stopping.wait(self._interval)
        if storage is not None:
            storage.close()

    def _say(self, storage: Storage, holdings: Holdings) -> None:
        now = SYSTEM_CLOCK.monotonic_ns() / 1e9
        idle = not (holdings.messages or holdings.many)
        interval = max(_IDLE, 10 * self._interval) if idle else self._interval
        if idle and holdings == self._said and now - self._said_at < interval:
            return
        storage.report(self._name, holdings.encode(), lifetime=int(_REPORTS * interval * 1e6))
        self._said, self._said_at = holdings, now


def holdings_of(app: Celery, consumer: Any) -> Holdings:
    """What a worker has taken of messages of ours and not begun with; safe beside the threads that change it."""
    messages: set[str] = set()
    many: set[str] = set()
    counts: Counter[str] = Counter()

    def note(request: Any, number: int = 1) -> None:
        lane = lane_of(app, request.delivery_info or {})
        if lane is not None:
            counts[lane] += number

    # The buckets first: what leaves them goes to the requests, and would else be seen in neither.
    buckets = [
        (name, list(bucket.contents)) for name, bucket in list(consumer.task_buckets.items()) if bucket is not None
    ]
    for request in _requests(consumer):
        if not isinstance(request.task, StepTask):
            continue
        if len(messages) < MOST_LISTED:
            messages.add(attempt_of(request.id) if is_task_id(request.id) else "")
        else:
            many.add(request.name)
        if request not in state.active_requests:
            note(request)
    # With a rate limit a worker takes all that there is, and keeps it: tens of thousands, maybe.
    for name, waiting in buckets:
        if not waiting or not isinstance(app.tasks.get(name), StepTask):
            continue
        if len(waiting) + len(messages) <= MOST_LISTED:
            messages.update(attempt_of(request.id) for request, _ in waiting)
        else:
            many.add(name)
        note(waiting[0][0], len(waiting))
    queues: Any = app.amqp.queues
    return Holdings(
        queues=frozenset(list(queues.consume_from)),
        messages=frozenset(messages),
        many=frozenset(many),
        counts=dict(counts),
    )


def _requests(consumer: Any) -> Iterator[Any]:
    # list() of a dictionary's values is one step for other threads.
    yield from list(state.requests.values())
    for waiting in list(getattr(getattr(consumer.timer, "schedule", None), "queue", ())):
        arguments = getattr(waiting.entry, "args", None) or (None,)
        if isinstance(arguments[0], Request):
            yield arguments[0]
