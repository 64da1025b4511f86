"""The names that users rely on: adding one is a decision, and removing one breaks them."""

from __future__ import annotations

import hephaestus_celery

PUBLIC = [
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
ERRORS = [name for name in PUBLIC if name.endswith("Error") and name != "Error"]


def test_the_public_names_are_these():
    assert hephaestus_celery.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(hephaestus_celery))  # which editors and shells complete, though some load when used


def test_every_public_name_is_there():
    assert [name for name in PUBLIC if not hasattr(hephaestus_celery, name)] == []


def test_every_error_of_ours_is_a_hephaestus_error():
    errors = [getattr(hephaestus_celery, name) for name in ERRORS]
    assert [error for error in errors if not issubclass(error, hephaestus_celery.HephaestusError)] == []
