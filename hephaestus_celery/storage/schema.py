"""The schema number of stored runs: code that meets a newer one leaves the run alone."""

from __future__ import annotations

from hephaestus_celery.exceptions import StorageError

SCHEMA = 1
"""The schema number, from 1 up. Each run carries the number that it was written with; older code leaves newer runs alone."""


def written_by_newer(run: str, schema: int) -> StorageError:
    """The error of code that was asked for a run of a newer schema."""
    return StorageError(
        f"run {run} was written by a newer hephaestus-celery (schema {schema}, this one reads up to {SCHEMA}); upgrade "
        "this process"
    )
