"""The schema number of stored runs: code that meets a newer one leaves the run alone."""

from __future__ import annotations

from hephaestus_celery.exceptions import StorageError

PLAIN = 1
"""The schema number of a run that was started and needs nothing newer."""
RERUN = 2
"""The schema number of a run that a retry or a fork has made: older code would lose whose idempotency keys its steps repeat."""
PAUSED = 2
"""The schema number of a run while it is paused: older code would go on with it."""
SCHEMA = 2
"""The newest schema number that this code reads. Each run carries the number that it needs; older code leaves newer runs alone."""


def written_by_newer(run: str, schema: int) -> StorageError:
    """The error of code that was asked for a run of a newer schema."""
    return StorageError(
        f"run {run} was written by a newer hephaestus-celery (schema {schema}, this one reads up to {SCHEMA}); upgrade "
        "this process"
    )
