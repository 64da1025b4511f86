"""Durable, validated workflows for the Celery that you already run."""

import importlib
from typing import TYPE_CHECKING, Any

from hephaestus_celery import telemetry
from hephaestus_celery.client.events import Events
from hephaestus_celery.client.facade import Workflow
from hephaestus_celery.client.handle import InstanceHandle
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.client.listing import CountFilters, ListFilters, Page
from hephaestus_celery.config import Settings
from hephaestus_celery.core.definition.builtin import Debug, Done, Wait, WaitForEvent
from hephaestus_celery.core.definition.route import route
from hephaestus_celery.core.definition.step import Async, Error, Ok, Step, StepConfig
from hephaestus_celery.core.values.bulk_result import BulkResult
from hephaestus_celery.core.values.cancel_report import CancelReport
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.identity import Unique
from hephaestus_celery.core.values.instance import Failure, Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.retry import RetryPolicy
from hephaestus_celery.core.values.stream_event import StreamEvent, StreamGap
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
    RunStateError,
    StepFailedError,
    StorageError,
    TooManyEventsError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from hephaestus_celery.runners.celery import CeleryRunner
    from hephaestus_celery.runners.local import LocalRunner
    from hephaestus_celery.runners.port import Runner
    from hephaestus_celery.storage.memory import MemoryStorage
    from hephaestus_celery.storage.port import Storage
    from hephaestus_celery.storage.redis import RedisStorage

__all__ = [
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
    "RunStateError",
    "Runner",
    "Settings",
    "Status",
    "Step",
    "StepConfig",
    "StepFailedError",
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
    "telemetry",
]

# Who only defines workflows waits for none of these.
_LATER = {
    "CeleryRunner": "hephaestus_celery.runners.celery",
    "LocalRunner": "hephaestus_celery.runners.local",
    "MemoryStorage": "hephaestus_celery.storage.memory",
    "RedisStorage": "hephaestus_celery.storage.redis",
    "Runner": "hephaestus_celery.runners.port",
    "Storage": "hephaestus_celery.storage.port",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value
