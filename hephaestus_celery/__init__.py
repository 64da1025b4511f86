"""Durable, validated workflows for the Celery that you already run."""

import importlib
from typing import TYPE_CHECKING, Any

from hephaestus_celery import telemetry
from hephaestus_celery.core.values import type_maker
from hephaestus_celery.exceptions import (
    AlreadyRunningError,
    AmbiguousInstanceError,
    AmbiguousResumeError,
    ConfigurationError,
    DataError,
    DefinitionError,
    HephaestusError,
    InstanceNotFoundError,
    NonRetryableError,
    NotCancellableError,
    NotDeletableError,
    NotWaitingError,
    RunFailedError,
    RunStateError,
    StepFailedError,
    StorageError,
    TooManyEventsError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from hephaestus_celery.client.events import Events
    from hephaestus_celery.client.facade import Workflow
    from hephaestus_celery.client.handle import InstanceHandle
    from hephaestus_celery.client.hephaestus import Hephaestus
    from hephaestus_celery.client.listing import CountFilters, ListFilters, Page
    from hephaestus_celery.config import Settings
    from hephaestus_celery.core.definition.builtin import Debug, Done, Wait, WaitForEvent
    from hephaestus_celery.core.definition.functions import step
    from hephaestus_celery.core.definition.route import route
    from hephaestus_celery.core.definition.step import Again, Async, Error, Ok, Step, StepConfig
    from hephaestus_celery.core.values.bulk_result import BulkResult
    from hephaestus_celery.core.values.cancel_report import CancelReport
    from hephaestus_celery.core.values.context import Context
    from hephaestus_celery.core.values.failure import Failure
    from hephaestus_celery.core.values.history import HistoryEntry
    from hephaestus_celery.core.values.identity import Unique
    from hephaestus_celery.core.values.instance import Instance
    from hephaestus_celery.core.values.lifecycle import Status
    from hephaestus_celery.core.values.names import FAILED
    from hephaestus_celery.core.values.retry import RetryPolicy
    from hephaestus_celery.core.values.step_standing import StepStanding
    from hephaestus_celery.core.values.stream_event import StreamEvent, StreamGap
    from hephaestus_celery.runners.celery import CeleryRunner
    from hephaestus_celery.runners.celery.task_steps import task_step
    from hephaestus_celery.runners.local import LocalRunner
    from hephaestus_celery.runners.port import Runner
    from hephaestus_celery.storage.memory import MemoryStorage
    from hephaestus_celery.storage.port import Storage
    from hephaestus_celery.storage.redis import RedisStorage

__all__ = [
    "FAILED",
    "Again",
    "AlreadyRunningError",
    "AmbiguousInstanceError",
    "AmbiguousResumeError",
    "Async",
    "BulkResult",
    "CancelReport",
    "CeleryRunner",
    "ConfigurationError",
    "Context",
    "CountFilters",
    "DataError",
    "Debug",
    "DefinitionError",
    "Done",
    "Error",
    "Events",
    "Failure",
    "Hephaestus",
    "HephaestusError",
    "HistoryEntry",
    "Instance",
    "InstanceHandle",
    "InstanceNotFoundError",
    "ListFilters",
    "LocalRunner",
    "MemoryStorage",
    "NonRetryableError",
    "NotCancellableError",
    "NotDeletableError",
    "NotWaitingError",
    "Ok",
    "Page",
    "RedisStorage",
    "RetryPolicy",
    "RunFailedError",
    "RunStateError",
    "Runner",
    "Settings",
    "Status",
    "Step",
    "StepConfig",
    "StepFailedError",
    "StepStanding",
    "Storage",
    "StorageError",
    "StreamEvent",
    "StreamGap",
    "TooManyEventsError",
    "Unique",
    "Wait",
    "WaitForEvent",
    "WaitTimeoutError",
    "Workflow",
    "route",
    "step",
    "task_step",
    "telemetry",
]

# Who only defines workflows waits for no store and no runner; and Celery's own commands, among which ours stand, for nothing.
_LATER = {
    "FAILED": "hephaestus_celery.core.values.names",
    "Again": "hephaestus_celery.core.definition.step",
    "Async": "hephaestus_celery.core.definition.step",
    "BulkResult": "hephaestus_celery.core.values.bulk_result",
    "CancelReport": "hephaestus_celery.core.values.cancel_report",
    "CeleryRunner": "hephaestus_celery.runners.celery",
    "Context": "hephaestus_celery.core.values.context",
    "CountFilters": "hephaestus_celery.client.listing",
    "Debug": "hephaestus_celery.core.definition.builtin",
    "Done": "hephaestus_celery.core.definition.builtin",
    "Error": "hephaestus_celery.core.definition.step",
    "Events": "hephaestus_celery.client.events",
    "Failure": "hephaestus_celery.core.values.failure",
    "Hephaestus": "hephaestus_celery.client.hephaestus",
    "HistoryEntry": "hephaestus_celery.core.values.history",
    "Instance": "hephaestus_celery.core.values.instance",
    "InstanceHandle": "hephaestus_celery.client.handle",
    "ListFilters": "hephaestus_celery.client.listing",
    "LocalRunner": "hephaestus_celery.runners.local",
    "MemoryStorage": "hephaestus_celery.storage.memory",
    "Ok": "hephaestus_celery.core.definition.step",
    "Page": "hephaestus_celery.client.listing",
    "RedisStorage": "hephaestus_celery.storage.redis",
    "RetryPolicy": "hephaestus_celery.core.values.retry",
    "Runner": "hephaestus_celery.runners.port",
    "Settings": "hephaestus_celery.config",
    "Status": "hephaestus_celery.core.values.lifecycle",
    "Step": "hephaestus_celery.core.definition.step",
    "StepStanding": "hephaestus_celery.core.values.step_standing",
    "StepConfig": "hephaestus_celery.core.definition.step",
    "Storage": "hephaestus_celery.storage.port",
    "StreamEvent": "hephaestus_celery.core.values.stream_event",
    "StreamGap": "hephaestus_celery.core.values.stream_event",
    "Unique": "hephaestus_celery.core.values.identity",
    "Wait": "hephaestus_celery.core.definition.builtin",
    "WaitForEvent": "hephaestus_celery.core.definition.builtin",
    "Workflow": "hephaestus_celery.client.facade",
    "route": "hephaestus_celery.core.definition.route",
    "step": "hephaestus_celery.core.definition.functions",
    "task_step": "hephaestus_celery.runners.celery.task_steps",
}

# The core declares what a type of data is; who names the first type loads what knows it.
type_maker.provide(lambda: importlib.import_module("hephaestus_celery.integrations.pydantic").data_type)


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
