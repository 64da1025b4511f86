"""The schema number of stored runs: code that meets a newer one leaves the run alone."""

from __future__ import annotations

from hephaestus_celery.exceptions import StorageError

SCHEMA = 1
"""How runs are stored, from 1 up. A run bears the number that it was written with: who knows only older ones leaves it alone."""


def written_by_newer(run: str, schema: int) -> StorageError:
    """The error of who was asked for a run that it can't read."""
    return StorageError(
        f"run {run} was written by a newer hephaestus-celery (schema {schema}, this one reads up to {SCHEMA}); upgrade "
        "this process"
    )
