"""Gathers the facts that the doctor judges: each question is bounded in time, and asked once."""

from __future__ import annotations

from typing import Any

from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.core.values.redaction import hidden
from hephaestus_celery.exceptions import ConfigurationError, StorageError
from hephaestus_celery.reports.doctor.findings import Facts, StoreFacts
from hephaestus_celery.runners.celery import CeleryRunner
from hephaestus_celery.runners.celery.inspection import Inspection
from hephaestus_celery.storage.redis import RedisStorage
from hephaestus_celery.storage.redis.examination import Examination


def gather(app: Any, runtime: Hephaestus, *, application: str = "APP") -> Facts:
    """What can be known of an application's store, broker, workers and settings now."""
    storage, runner = redis_storage(runtime), runtime.runner
    inspection = Inspection(app, storage, transactional=runtime.settings.transactional_dispatch)
    broker = inspection.broker()
    owned = [each for each in WORKFLOWS.all() if each.hephaestus in (None, runtime)]
    return Facts(
        place=hidden(runtime.settings.state_backend or storage.url or storage.name),
        store=_ask(storage.examination()),
        broker=broker,
        fleet=inspection.fleet(reached=broker.failure is None),
        step_queues=inspection.step_queues(runner, owned) if isinstance(runner, CeleryRunner) else {},
        misspelt=inspection.settings(),
        pace=inspection.pace(),
        application=application,
    )


def redis_storage(runtime: Hephaestus) -> RedisStorage:
    """The store of a runtime; ``ConfigurationError`` where it is no Redis, of which there is nothing to be asked."""
    storage = runtime.storage
    if not isinstance(storage, RedisStorage):
        raise ConfigurationError(
            f"this command is for runs in Redis, and those of {runtime.name} are in {storage.name}"
        )
    return storage


def _ask(examination: Examination) -> StoreFacts | str:
    try:
        return StoreFacts(
            server=examination.server(),
            schedulers=examination.schedulers(),
            runs=examination.active_runs(),
            keys=examination.keys(),
            waited=frozenset(Lane.parse(lane).queue for lane, count in examination.lanes().items() if count),
        )
    except StorageError as error:
        return str(error)
