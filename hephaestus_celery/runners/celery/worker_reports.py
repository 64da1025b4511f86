"""Writes the report of a worker: the messages that it has taken from its queues and not started yet."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from celery import Celery
from celery.worker import state
from celery.worker.request import Request

from hephaestus_celery.clock import SYSTEM_CLOCK, Clock
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.values.inputs import is_task_id
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.celery.forking import no_forks
from hephaestus_celery.runners.celery.routing import lane_of
from hephaestus_celery.runners.celery.task import StepTask
from hephaestus_celery.runners.fleet import Holdings, attempt_of
from hephaestus_celery.storage.port import Storage

logger = logging.getLogger("hephaestus_celery")

MOST_LISTED = 500
"""Messages that a worker lists in a report; of other tasks it reports only that there are many."""
_MISSED_REPORTS = 3
"""How many reports may be missed before a worker counts as gone."""
_IDLE_SECONDS = 10.0
"""The shortest interval between reports that nothing is held: such a worker may be gone unnoticed."""


class WorkerReporter:
    """A thread of a worker's main process that reports every ``interval`` seconds.

    It has a thread of its own: an unreachable broker may block the scheduler's, and a silent worker counts as gone.
    """

    def __init__(
        self,
        storage: Callable[[], Storage],
        *,
        app: Celery,
        consumer: Any,
        name: str,
        interval: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._storage = storage
        self._app, self._consumer = app, consumer
        self._name = name
        self._interval = interval
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hephaestus-reports", daemon=True)
        self._reported: Holdings | None = None
        self._reported_at = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; from then on the worker counts as gone."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        storage: Storage | None = None
        while True:
            gone = self._stopping.is_set()
            try:
                with no_forks():
                    storage = storage or self._storage().separate()
                    if gone:
                        storage.report(self._name, None, lifetime=0)
                    else:
                        self._report(storage, holdings_of(self._app, self._consumer, name=self._name))
            except StorageError as error:
                logger.debug("what this worker holds can't be reported: %s", error)
            except Exception:  # this reads Celery's internals
                logger.exception("what this worker holds can't be reported")
            if gone:
                break
            self._stopping.wait(self._interval)
        if storage is not None:
            storage.close()

    def _report(self, storage: Storage, holdings: Holdings) -> None:
        now = self._clock.monotonic_ns() / 1e9
        idle = not (holdings.messages or holdings.many)
        interval = max(_IDLE_SECONDS, 10 * self._interval) if idle else self._interval
        if idle and holdings == self._reported and now - self._reported_at < interval:
            return
        storage.report(self._name, holdings.encode(), lifetime=int(_MISSED_REPORTS * interval * 1e6))
        self._reported, self._reported_at = holdings, now


def holdings_of(app: Celery, consumer: Any, *, name: str | None = None) -> Holdings:
    """The messages of steps that a worker has taken and not started; safe beside the threads that change them."""
    messages: set[str] = set()
    many: set[str] = set()
    counts: Counter[str] = Counter()

    def note(request: Any, number: int = 1) -> None:
        lane = lane_of(app, request.delivery_info or {})
        if lane is not None:
            counts[lane] += number

    # The buckets first: messages go from them to the requests, and would be missed in the other order.
    buckets = _buckets(consumer)
    limited: dict[str, Any] = {name: app.tasks.get(name) for name, _ in buckets}
    rates = {name: str(task.rate_limit) for name, task in limited.items() if isinstance(task, StepTask)}
    for request in _requests(consumer):
        if not isinstance(request.task, StepTask):
            continue
        if len(messages) < MOST_LISTED:
            messages.add(attempt_of(request.id) if is_task_id(request.id) else "")
        else:
            many.add(request.name)
        if request not in state.active_requests:
            note(request)
    # With a rate limit a worker takes all messages of its queues, perhaps tens of thousands, and keeps them.
    for task_name, waiting in buckets:
        if not waiting or task_name not in rates:
            continue
        if len(waiting) + len(messages) <= MOST_LISTED:
            messages.update(attempt_of(request.id) for request, _ in waiting)
        else:
            many.add(task_name)
        note(waiting[0][0], len(waiting))
    queues: Any = app.amqp.queues
    return Holdings(
        queues=frozenset(list(queues.consume_from)),
        messages=frozenset(messages),
        many=frozenset(many),
        counts=dict(counts),
        worker=None if name is None else name.partition(" ")[0],  # without the number of its process
        rates=rates,
        workflows={known: WORKFLOWS.versions(known) for known in {workflow.name for workflow in WORKFLOWS.all()}},
    )


def _buckets(consumer: Any) -> list[tuple[str, list[Any]]]:
    found = list(consumer.task_buckets.items())
    return [(name, list(bucket.contents)) for name, bucket in found if bucket is not None]


def _requests(consumer: Any) -> Iterator[Any]:
    # list() of a dictionary's values is one step for other threads.
    yield from list(state.requests.values())
    for waiting in list(getattr(getattr(consumer.timer, "schedule", None), "queue", ())):
        arguments = getattr(waiting.entry, "args", None) or (None,)
        if isinstance(arguments[0], Request):
            yield arguments[0]
